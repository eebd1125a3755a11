"""One call while this server answers it."""

from everloom.context import Context
from everloom.objects.runs import Run, Source, ToolWork
from everloom.objects.steps import CallDelta, RunStep, StepCall, ToolCalls
from everloom.work.runs.requested_calls import step_delta
from everloom.work.runs.writer import RunWriter


class ToolFailure(Exception):
    """A tool that cannot do its work; the run fails with this text."""


class Performance:
    """What a performer works with. It fills ``call`` and ``output``, and may add ``sources``.

    ``again`` says that the call was under way once before, when its process died. ``ordinal`` counts the
    run's calls to this server's tools from 1: marks hold it, so that those of two searches differ.
    """

    def __init__(
        self, ctx: Context, run: Run, step: RunStep, index: int, work: ToolWork, ordinal: int, writer: RunWriter
    ) -> None:
        assert isinstance(step.step_details, ToolCalls)
        self.ctx = ctx
        self.run = run
        self.step = step
        self.index = index
        self.work = work
        self.ordinal = ordinal
        self.call: StepCall = step.step_details.tool_calls[index]
        self.again = work.started_at is not None
        self.output = ""
        self.sources: list[Source] = []
        self._writer = writer

    def tell(self, delta: CallDelta) -> None:
        """Tell more of the call to whoever follows the run."""
        self._writer.enqueue(step_delta(self.step.id, delta))
