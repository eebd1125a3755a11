"""The rules of a project or of the organization as the store has them, and how they are changed."""

from collections.abc import Callable
from contextlib import suppress

from everloom.context import Context
from everloom.kit.clock import now
from everloom.objects.base import JsonObject
from everloom.objects.organization import ORGANIZATION
from everloom.objects.rules import Rules
from everloom.store.base import Add, Audit, Change, Conflict, Operation
from everloom.work.organization.audit import recorded
from everloom.work.organization.projects import open_project, the_open_project


async def rules_of(ctx: Context, project_id: str | None) -> Rules:
    """The rules of a project, or (None) of the organization; empty ones where nobody has set any. Errors: 400 where the
    project is archived, 404.
    """
    if project_id is not None:
        await the_open_project(ctx, project_id)
    id = project_id or ORGANIZATION
    found = await ctx.store.all(Rules, id=id)
    return found[0] if found else Rules(id=id, created_at=now())


def updated(ctx: Context, project_id: str | None, changes: JsonObject) -> Audit:
    """Part of a write that tells of a change of a project, or (None) of the organization."""
    if project_id is None:
        return recorded(ctx, "organization.updated", {"id": ORGANIZATION, "changes_requested": changes})
    return recorded(ctx, "project.updated", {"id": project_id, "changes_requested": changes}, project=project_id)


async def change_rules(ctx: Context, project_id: str | None, edit: Callable[[Rules], None], *more: Operation) -> Rules:
    """Change the rules of a project, or (None) of the organization, ``more`` in the same write; what is known of them
    here is known no longer.

    Errors: what ``edit`` raises; 400 where the project is archived, 404.
    """
    held: list[Operation] = []
    if project_id is not None:
        await the_open_project(ctx, project_id)
        held = [open_project(project_id)]
    id = project_id or ORGANIZATION
    while True:
        change: Add[Rules] | Change[Rules] = Change(Rules, id, edit)
        if not await ctx.store.all(Rules, id=id):
            edit(first := Rules(id=id, created_at=now()))
            change = Add(first)
        with suppress(Conflict):  # Somebody has set the first rule meanwhile.
            written = await ctx.store.write(*held, change, *more)
            ctx.ports.rules.forget()
            return written[change]
