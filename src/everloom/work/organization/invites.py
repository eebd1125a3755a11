"""Invites: made, accepted once by their signed link while their time lasts, and deleted unless accepted."""

import hashlib
import hmac
import shlex
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

from msgspec import to_builtins

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import BadRequest, Forbidden, NotFound
from everloom.kit.ids import new_id
from everloom.objects.audit import AuditActor, AuditEvent
from everloom.objects.base import Page, PageQuery, encode
from everloom.objects.invites import Invite, InvitedProject, NewInvite
from everloom.objects.mail import is_address
from everloom.objects.organization import ORGANIZATION, Organization
from everloom.objects.projects import Project
from everloom.objects.users import Membership, User
from everloom.store.base import Absent, Add, Audit, Change, Missing, Remove
from everloom.work.organization.audit import recorded
from everloom.work.organization.establishing import DEFAULT_PROJECT
from everloom.work.organization.mail import letter
from everloom.work.organization.projects import archived
from everloom.work.organization.users import one_at_a_time, retired_invites

INVITE_SECONDS = 7 * 24 * 3600
"""How long an invite can be accepted; the platform's last a week."""

FOLDER = "/organization/invites/"
"""Where the links of invites lead, below the server's base URL."""


async def create_invite(ctx: Context, asked: NewInvite, base: str) -> Invite:
    """Invite somebody; the answer has the link that accepts it, below the server's ``base`` URL. Where a mail server is
    set, the link is mailed, too.

    Errors: 400 for somebody who is a user already, for a project that is archived and for an address that cannot be
    mailed to, 404 for a project that is not there.
    """
    made = now()
    email = asked.email.lower()
    if ctx.ports.mailer is not None and not is_address(email):
        raise BadRequest("Invalid 'email': no mail can be sent there.", param="email", code="invalid_value")
    for wanted in asked.projects or ():
        project = await ctx.store.get(Project, wanted.id)
        if project.status == "archived":
            raise archived(project)
    default = [InvitedProject(id=DEFAULT_PROJECT, role="member")]
    invite = Invite(
        id=new_id("invite-"),
        created_at=made,
        invited_at=made,
        expires_at=made + INVITE_SECONDS,
        email=email,
        role=asked.role,
        projects=default if asked.projects is None else asked.projects,
    )
    organization = await ctx.store.get(Organization, ORGANIZATION)
    link = f"{base}{FOLDER}{invite.id}/accept?signature={_signature(invite, organization)}"
    told = letter(ctx.ports, email, f"Invitation to {organization.name}", _told(invite, organization, link))
    data = {"email": email, "role": invite.role, "projects": to_builtins(invite.projects)}
    event = recorded(ctx, "invite.sent", {"id": invite.id, "data": data})
    await ctx.store.write(*one_at_a_time(Absent(User, _is_user, email=email), Add(invite), event, *told))
    invite.accept_url = link
    return invite


def _told(invite: Invite, organization: Organization, link: str) -> str:
    """The text of an invite's mail."""
    until = datetime.fromtimestamp(invite.expires_at, UTC)
    return (
        f"You are invited to {organization.name} as {invite.role}.\n\n"
        f"This link leads to a page that accepts the invite, until {until:%Y-%m-%d %H:%M} UTC:\n\n{link}\n\n"
        "Programs need a key: once you have accepted, whoever runs the server makes you one, by\n"
        f"everloom keys create --user {shlex.quote(invite.email)}\n\n"
        "Whoever has the link can accept it. If you did not expect it, nothing has to be done.\n"
    )


def _is_user(user: User) -> BadRequest:
    return BadRequest(f"{user.email} is a user of the organization already.", param="email", code="user_exists")


def _signature(invite: Invite, organization: Organization) -> str:
    signed = f"{invite.id}\n{invite.email}\n{invite.expires_at}".encode()
    return hmac.new(bytes.fromhex(organization.secret), signed, hashlib.sha256).hexdigest()


async def list_invites(ctx: Context, page: PageQuery) -> Page[Invite]:
    """A page of invites."""
    found = await ctx.store.find(Invite, page)
    return found.with_bodies([encode(_as_of_now(invite)) for invite in found.decode()])


async def retrieve_invite(ctx: Context, invite_id: str) -> Invite:
    """An invite. Errors: 404."""
    return _as_of_now(await ctx.store.get(Invite, invite_id))


def _as_of_now(invite: Invite) -> Invite:
    """An invite as it is shown: a pending one whose time is over has expired."""
    if invite.status == "pending" and now() >= invite.expires_at:
        invite.status = "expired"
    return invite


async def delete_invite(ctx: Context, invite_id: str) -> None:
    """Take an invite back. Errors: 400 for one that has been accepted, 404."""
    told = recorded(ctx, "invite.deleted", {"id": invite_id})
    await ctx.store.write(Change(Invite, invite_id, _refuse_accepted), Remove(Invite, invite_id), told)


def _refuse_accepted(invite: Invite) -> None:
    if invite.status == "accepted":
        raise BadRequest("This invite has been accepted already.", code="invite_accepted")


async def opened(ctx: Context, invite_id: str, signature: str) -> Invite:
    """The invite that a link leads to. 403 for a link that is not ours, without a word about whether there is one."""
    try:
        invite = await ctx.store.get(Invite, invite_id)
        organization = await ctx.store.get(Organization, ORGANIZATION)
    except NotFound:
        raise _closed() from None
    if not hmac.compare_digest(_signature(invite, organization).encode(), signature.encode()):
        raise _closed()
    return _as_of_now(invite)


def _closed() -> Forbidden:
    return Forbidden(
        "This link opens no invite: its signature is wrong, or the invite was taken back, or another for the same "
        "address was accepted."
    )


async def accept_invite(ctx: Context, invite_id: str, signature: str) -> User:
    """Make whoever has an invite's link a user, in the projects that it opens and that are still open. Other invites of
    the same address are taken back: one link makes one user once.

    Errors: 403 for a link that is not ours, 400 for an invite that was accepted or has expired.
    """
    invite = await opened(ctx, invite_id, signature)
    user = User(
        id=new_id("user-"),
        created_at=now(),
        name=invite.email.partition("@")[0],
        email=invite.email,
        role=invite.role,
    )
    places = await _places(ctx, invite, user)

    def accept(invite: Invite) -> None:
        _refuse_accepted(invite)
        if now() >= invite.expires_at:
            raise BadRequest("This invite has expired.", code="invite_expired")
        invite.status = "accepted"
        invite.accepted_at = user.created_at  # One moment, however long the write has waited.

    change = Change(Invite, invite_id, accept)
    nobody = Absent(User, _is_user, email=invite.email)
    # Who accepts has no key, and is the user who comes of it.
    by_user = partial(AuditEvent, actor=AuditActor(type="session", id=user.id, email=user.email), origin=ctx.origin)
    told = Audit(tuple(_events(by_user, invite, user, places)))
    others = await retired_invites(ctx, invite.email, by_user, but=invite.id)
    try:
        await ctx.store.write(*one_at_a_time(change, nobody, Add(user), *map(Add, places), told, others))
    except Missing as problem:
        if problem.cls is Invite:  # It was taken back in this very moment.
            raise _closed() from None
        raise
    return user


async def projects_of(ctx: Context, user: User) -> list[Project]:
    """The open projects that a user is in, oldest first."""
    places = await ctx.store.all(Membership, user_id=user.id)
    return await ctx.store.all(Project, id=[place.project_id for place in places], status="active")


async def _places(ctx: Context, invite: Invite, user: User) -> list[Membership]:
    """Where an invite lets a user in: into those of its projects that are still open."""
    standing = await ctx.store.all(Project, id=[project.id for project in invite.projects], status="active")
    ids = {project.id for project in standing}
    return [
        Membership(id=user.id, created_at=user.created_at, project_id=project.id, role=project.role)
        for project in {each.id: each for each in invite.projects if each.id in ids}.values()
    ]


def _events(
    event: Callable[..., AuditEvent], invite: Invite, user: User, places: Sequence[Membership]
) -> Iterator[AuditEvent]:
    yield event(type="invite.accepted", details={"id": invite.id})
    yield event(type="user.added", details={"id": user.id, "data": {"role": user.role, "email": user.email}})
    for place in places:
        details = {"id": user.id, "data": {"role": place.role}}
        yield event(type="user.added", details=details, project_id=place.project_id)
