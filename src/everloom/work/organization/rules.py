"""The rules of a project or of the organization as the store has them, and how they are changed."""

from collections.abc import Callable
from contextlib import suppress

from everloom.context import Context
from everloom.kit.clock import now
from everloom.objects.organization import ORGANIZATION
from everloom.objects.rules import Rules
from everloom.store.base import Add, Change, Conflict, Operation
from everloom.work.organization.projects import open_project, the_open_project


async def rules_of(ctx: Context, project_id: str) -> Rules:
    """The rules of a project or, by ``ORGANIZATION``, of the organization; empty ones where nobody has set any."""
    found = await ctx.store.all(Rules, id=project_id)
    return found[0] if found else Rules(id=project_id, created_at=now())


async def change_rules(ctx: Context, project_id: str, edit: Callable[[Rules], None], *more: Operation) -> Rules:
    """Change the rules of a project or, by ``ORGANIZATION``, of the organization, ``more`` in the same write; what is
    known of them here is known no longer.

    Errors: what ``edit`` raises; 400 where the project is archived, 404.
    """
    held: list[Operation] = []
    if project_id != ORGANIZATION:
        await the_open_project(ctx, project_id)
        held = [open_project(project_id)]
    while True:
        change: Add[Rules] | Change[Rules] = Change(Rules, project_id, edit)
        if not await ctx.store.all(Rules, id=project_id):
            edit(first := Rules(id=project_id, created_at=now()))
            change = Add(first)
        with suppress(Conflict):  # Somebody has set the first rule meanwhile.
            written = await ctx.store.write(*held, change, *more)
            ctx.ports.rules.forget()
            return written[change]
