"""Users of the organization: their role, and how they go. Somebody has to stay who owns it."""

from collections.abc import Callable
from functools import partial

from everloom.context import Context
from everloom.kit.errors import ApiError
from everloom.objects.audit import AuditEvent
from everloom.objects.invites import Invite
from everloom.objects.keys import Key
from everloom.objects.organization import ORGANIZATION, Organization
from everloom.objects.users import Membership, User, UserChanges
from everloom.store.base import Change, Operation, Present, Remove
from everloom.work.organization.audit import event, recorded, requested
from everloom.work.organization.projects import refuse_unkept


def _lock() -> Change[Organization]:
    """One change of who owns the organization at a time, so that each sees what the one before has left."""
    return Change(Organization, ORGANIZATION)


def _an_owner_stays() -> Present[User]:
    error = ApiError(400, "The last owner of the organization cannot be removed or demoted.", code="last_owner")
    return Present(User, error, role="owner")


def one_at_a_time(*operations: Operation) -> tuple[Operation, ...]:
    """The operations of a write after which the organization must have an owner, and none of them a rival."""
    return (_lock(), *operations, _an_owner_stays())


async def retired_invites(
    ctx: Context, email: str, event: Callable[..., AuditEvent], *, but: str = ""
) -> Remove[Invite]:
    """Part of a write after which no link makes somebody a user again: takes away what is pending for an address,
    ``but`` for one invite. ``event`` makes events by who does so.
    """

    def taken_back(invite: Invite) -> AuditEvent:
        return event(type="invite.deleted", details={"id": invite.id})

    invites = [each for each in await ctx.store.all(Invite, email=email) if each.status == "pending"]
    return Remove(Invite, [invite.id for invite in invites if invite.id != but], audit=taken_back)


async def modify_user(ctx: Context, user_id: str, asked: UserChanges) -> User:
    """Give a user another role in the organization, and say what else is known of them. Errors: 400 for the last owner
    and for what this server has not; 404.
    """
    refuse_unkept(asked)

    def edit(user: User) -> None:
        user.role = asked.role or user.role
        if asked.technical_level is not None:
            user.technical_level = asked.technical_level
        if asked.developer_persona is not None:
            user.developer_persona = asked.developer_persona

    change = Change(User, user_id, edit)
    details = {"id": user_id, "changes_requested": requested(asked)}
    written = await ctx.store.write(*one_at_a_time(change, recorded(ctx, "user.updated", details)))
    ctx.ports.known_keys.forget()
    return written[change]


async def delete_user(ctx: Context, user_id: str) -> None:
    """Take a user out of the organization and all its projects; his keys go with him, and so do invites that would let
    him in again. Errors: 400 for the last owner, 404.
    """
    user = await ctx.store.get(User, user_id)  # Before the invites: while he is here, nobody can make him one.

    def left(place: Membership) -> AuditEvent:
        return event(ctx, "user.deleted", {"id": user_id}, project=place.project_id)

    def closed(key: Key) -> AuditEvent:
        return event(ctx, "api_key.deleted", {"id": key.id}, project=key.project_id)

    operations = (
        Remove(User, user_id),
        recorded(ctx, "user.deleted", {"id": user_id}),
        Remove(Membership, user_id=user_id, audit=left),
        Remove(Key, owner_id=user_id, audit=closed),
        await retired_invites(ctx, user.email, partial(event, ctx)),
    )
    await ctx.store.write(*one_at_a_time(*operations))
    ctx.ports.known_keys.forget()
