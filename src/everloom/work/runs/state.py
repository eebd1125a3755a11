"""A run as it stands at the beginning of a round: looked up once, then handed to all that work in that round."""

from collections.abc import Collection, Sequence

from msgspec import Struct

from everloom.context import Context
from everloom.objects.runs import Generation, Run, ToolWork
from everloom.objects.steps import RunStep, ToolCalls
from everloom.objects.tools import Usage
from everloom.tools.registry import built_in


class RunState(Struct, frozen=True):
    """A run with its steps, its finished calls of a model and its calls to this server's tools, each oldest first, and
    the options that its caller ``named``.

    Nobody but the run's executor adds to them, so they hold for the whole round; what the round writes, the next
    one sees.
    """

    run: Run
    steps: list[RunStep]
    generations: list[Generation]
    works: list[ToolWork]
    named: Collection[str] = ()

    @property
    def usage(self) -> Usage:
        """What the finished calls of a model have cost."""
        return sum((generation.usage for generation in self.generations), Usage())

    def but(self, again: Sequence[RunStep]) -> list[RunStep]:
        """The steps without those that are to be told anew."""
        ids = {step.id for step in again}
        return [step for step in self.steps if step.id not in ids]

    def call_ids(self, *, but: Sequence[RunStep]) -> set[str]:
        """The ids of all calls that the steps hold, ``but`` left aside."""
        details = [step.step_details for step in self.but(but)]
        return {call.id for each in details if isinstance(each, ToolCalls) for call in each.tool_calls}


async def load(ctx: Context, run: Run, named: Collection[str] = ()) -> RunState:
    """The state of ``run``; what cannot be there is not asked for. A model's call and a tool's stand in a step."""
    steps = await ctx.store.all(RunStep, run_id=run.id)
    generations = await ctx.store.all(Generation, run_id=run.id) if steps else []
    works = await ctx.store.all(ToolWork, run_id=run.id) if steps and built_in(run.tools) else []
    return RunState(run, steps, generations, works, named)
