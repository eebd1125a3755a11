"""The Invites tag."""

from everloom.api.http.addresses import base_url
from everloom.api.http.paging import AfterQuery
from everloom.api.http.routes import Request, Routes
from everloom.context import Context
from everloom.objects.base import Deleted, Page
from everloom.objects.invites import Invite, NewInvite
from everloom.work.organization import invites

routes = Routes(access="admin")


@routes.get("/organization/invites")
async def list_invites(ctx: Context, query: AfterQuery) -> Page[Invite]:
    """list-invites."""
    return await invites.list_invites(ctx, query.page)


@routes.post("/organization/invites")
async def invite_user(ctx: Context, call: Request, body: NewInvite) -> Invite:
    """inviteUser. Its answer has the link that accepts the invite, also where that is mailed."""
    return await invites.create_invite(ctx, body, base_url(ctx, call))


@routes.get("/organization/invites/{invite_id}")
async def retrieve_invite(ctx: Context, invite_id: str) -> Invite:
    """retrieve-invite."""
    return await invites.retrieve_invite(ctx, invite_id)


@routes.delete("/organization/invites/{invite_id}")
async def delete_invite(ctx: Context, invite_id: str) -> Deleted:
    """delete-invite."""
    await invites.delete_invite(ctx, invite_id)
    return Deleted(id=invite_id, object="organization.invite.deleted")
