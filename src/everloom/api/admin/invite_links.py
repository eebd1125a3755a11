"""Where the links of invites lead: no key but the link itself."""

import html
from collections.abc import AsyncIterator

from msgspec import Struct

from everloom.api.http.routes import Download, Routes
from everloom.context import Context
from everloom.objects.users import User
from everloom.work.organization import invites

routes = Routes(access="open")


class SignedLink(Struct, frozen=True, kw_only=True):
    """What stands behind the path. Left out it opens nothing."""

    signature: str = ""


_PAGE = (
    '<!doctype html><meta charset="utf-8"><title>Invite</title><p>{what}</p>'
    '<form method="post"><button{off}>Accept</button></form>'
)


@routes.get(invites.FOLDER + "{invite_id}/accept")
async def show_invite(ctx: Context, invite_id: str, signed: SignedLink) -> Download:
    """A page with a button: programs that look at the links in a mail accept nothing by it."""
    invite = await invites.opened(ctx, invite_id, signed.signature)
    what = f"{html.escape(invite.email)} is invited as {invite.role}. This invite is {invite.status}."
    page = _PAGE.format(what=what, off="" if invite.status == "pending" else " disabled").encode()
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-length": str(len(page)),
        "content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }
    return Download(_whole(page), headers)


async def _whole(page: bytes) -> AsyncIterator[bytes]:
    yield page


@routes.post(invites.FOLDER + "{invite_id}/accept")
async def accept_invite(ctx: Context, invite_id: str, signed: SignedLink) -> User:
    """Accept an invite; the user that came of it."""
    return await invites.accept_invite(ctx, invite_id, signed.signature)
