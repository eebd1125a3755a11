"""Where the links of invites lead: no key but the link itself. Browsers get pages in words, programs JSON."""

import html
import shlex
from collections.abc import AsyncIterator, Sequence

from msgspec import Struct

from everloom.api.http.routes import Download, Request, Routes
from everloom.context import Context
from everloom.kit.errors import ApiError
from everloom.objects.projects import Project
from everloom.objects.users import User
from everloom.work.organization import invites

routes = Routes(access="open")


class SignedLink(Struct, frozen=True, kw_only=True):
    """What stands behind the path. Left out it opens nothing."""

    signature: str = ""


@routes.get(invites.FOLDER + "{invite_id}/accept")
async def show_invite(ctx: Context, call: Request, invite_id: str, signed: SignedLink) -> Download:
    """A page with a button: programs that look at the links in a mail accept nothing by it."""
    try:
        invite = await invites.opened(ctx, invite_id, signed.signature)
    except ApiError as error:
        return _refusal(call, error)
    what = _paragraph(f"{invite.email} is invited as {invite.role}. This invite is {invite.status}.")
    off = "" if invite.status == "pending" else " disabled"
    return _page("Invite", f'{what}<form method="post"><button{off}>Accept</button></form>')


@routes.post(invites.FOLDER + "{invite_id}/accept")
async def accept_invite(ctx: Context, call: Request, invite_id: str, signed: SignedLink) -> User | Download:
    """Accept an invite; the user that came of it or, for a browser, a page that says how the user gets a key."""
    try:
        user = await invites.accept_invite(ctx, invite_id, signed.signature)
    except ApiError as error:
        return _refusal(call, error)
    if not _from_browser(call):
        return user
    return _page("Welcome", _welcome(user, await invites.projects_of(ctx, user)))


def _from_browser(call: Request) -> bool:
    return "text/html" in (call.header(b"accept") or "").lower()


def _refusal(call: Request, error: ApiError) -> Download:
    """The error as a page. Errors: itself, where no browser asks."""
    if not _from_browser(call):
        raise error
    return _page("Invite", _paragraph(error.message), status=error.status)


def _welcome(user: User, projects: Sequence[Project]) -> str:
    """What a new user has to know. There is no login here: what people use are keys, and the operator makes them."""
    make = f"everloom keys create --user {shlex.quote(user.email)}"
    ways = [(project.name, f"{make} --project {project.id}") for project in projects]
    if user.role == "owner":
        ways.append(("the organization", f"{make} --admin"))
    said = [_paragraph(f"{user.email} is a user of this server's organization now, as {user.role}.")]
    if ways:
        said.append(
            _paragraph("Programs need a key. Whoever runs the server makes yours by a command, and gives it to you:")
        )
        items = (f"<li>{html.escape(what)}: <code>{html.escape(command)}</code></li>" for what, command in ways)
        said.append(f"<ul>{''.join(items)}</ul>")
    else:
        said.append(
            _paragraph("You are in no project yet: ask whoever runs the server to let you into one, and for a key.")
        )
    return "".join(said)


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _page(title: str, body: str, status: int = 200) -> Download:
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>{body}</html>'.encode()
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-length": str(len(page)),
        "content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }
    return Download(_whole(page), headers, status)


async def _whole(page: bytes) -> AsyncIterator[bytes]:
    yield page
