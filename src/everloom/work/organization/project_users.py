"""Users of projects: users of the organization who are let into one."""

from collections.abc import Sequence

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import BadRequest
from everloom.objects.base import Page, PageQuery, encode
from everloom.objects.users import Membership, NewProjectUser, ProjectUser, ProjectUserChanges, User, membership_key
from everloom.requests.validation import missing
from everloom.store.base import Add, Change, Conflict, Missing, Remove
from everloom.work.organization.audit import recorded, requested
from everloom.work.organization.projects import open_project, the_open_project


async def create_project_user(ctx: Context, project_id: str, asked: NewProjectUser) -> ProjectUser:
    """Let a user of the organization into a project. Errors: 400 for anybody else, for one who is in it already and
    for an archived project; 404.
    """
    user_id = asked.user_id if asked.user_id is not None else await _user_by_email(ctx, asked)
    place = Membership(id=user_id, created_at=now(), project_id=project_id, role=asked.role)
    locked = Change(User, user_id)
    told = recorded(ctx, "user.added", {"id": user_id, "data": {"role": asked.role}}, project=project_id)
    try:
        written = await ctx.store.write(open_project(project_id), locked, Add(place), told)
    except Conflict:
        raise BadRequest(f"User {user_id} is in the project already.", param="user_id") from None
    except Missing as problem:
        if problem.cls is User:
            raise _no_user(user_id, "user_id") from None
        raise
    return _shown(place, written[locked])


async def _user_by_email(ctx: Context, asked: NewProjectUser) -> str:
    if asked.email is None:
        raise missing("user_id")
    for user in await ctx.store.all(User, email=asked.email.lower()):
        return user.id
    raise _no_user(asked.email, "email")


def _no_user(who: str, param: str) -> BadRequest:
    return BadRequest(
        f"User {who} is not a member of the organization. Users must already be members of the organization to be "
        "added to a project.",
        param=param,
    )


async def list_project_users(ctx: Context, project_id: str, page: PageQuery) -> Page[Membership]:
    """A page of a project's users. Errors: 400 where it is archived, 404."""
    await the_open_project(ctx, project_id)
    found = await ctx.store.find(Membership, await _by_keys(ctx, project_id, page), project_id=project_id)
    return found.with_bodies([encode(user) for user in await _all_shown(ctx, found.decode())])


async def _by_keys(ctx: Context, project_id: str, page: PageQuery) -> PageQuery:
    """The page with the key of its cursor, which is the id of a user.

    A cursor whose user has been taken out since (by a client that deletes as it lists) counts as none.
    """
    if page.after is None:
        return page
    after = membership_key(project_id, page.after)
    if not await ctx.store.all(Membership, id=after):
        if not page.after.startswith("user-"):
            raise BadRequest(f"Invalid 'after': No user found with id '{page.after}'.", param="after")
        return PageQuery(limit=page.limit, order=page.order)
    return PageQuery(limit=page.limit, order=page.order, after=after)


async def retrieve_project_user(ctx: Context, project_id: str, user_id: str) -> ProjectUser:
    """A user of a project. Errors: 400 where it is archived, 404."""
    await the_open_project(ctx, project_id)
    (user,) = await _all_shown(ctx, [await ctx.store.get(Membership, membership_key(project_id, user_id))])
    return user


async def modify_project_user(ctx: Context, project_id: str, user_id: str, asked: ProjectUserChanges) -> ProjectUser:
    """Give a user another role in a project. Errors: 400 where it is archived, 404."""

    def edit(place: Membership) -> None:
        place.role = asked.role or place.role

    place, user = Change(Membership, membership_key(project_id, user_id), edit), Change(User, user_id)
    details = {"id": user_id, "changes_requested": requested(asked)}
    told = recorded(ctx, "user.updated", details, project=project_id)
    written = await ctx.store.write(open_project(project_id), place, user, told)
    return _shown(written[place], written[user])


async def delete_project_user(ctx: Context, project_id: str, user_id: str) -> None:
    """Take a user out of a project. His keys of it open nothing from now on, unless he owns the organization.

    Errors: 400 where it is archived, 404.
    """
    place = Remove(Membership, membership_key(project_id, user_id))
    told = recorded(ctx, "user.deleted", {"id": user_id}, project=project_id)
    await ctx.store.write(open_project(project_id), place, told)
    ctx.ports.known_keys.forget()


async def _all_shown(ctx: Context, places: Sequence[Membership]) -> list[ProjectUser]:
    users = {user.id: user for user in await ctx.store.all(User, id=[place.id for place in places])}
    return [_shown(place, users[place.id]) for place in places if place.id in users]


def _shown(place: Membership, user: User) -> ProjectUser:
    return ProjectUser(id=user.id, name=user.name, email=user.email, role=place.role, added_at=place.created_at)
