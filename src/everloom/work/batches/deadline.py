"""Whether the time of a batch is over, by this process's steady clock; and the sweep that has somebody look then."""

from everloom.context import Ports
from everloom.objects.batches import WINDOW_SECONDS, Batch
from everloom.store.base import Start
from everloom.work.batches.verbs import BATCH_JOB

LOOK_SECONDS = 5.0
_BATCHES = "batch"


def is_over(ports: Ports, project: str, batch: Batch) -> bool:
    """Whether the completion window has ended."""
    return ports.deadlines.left(_BATCHES, (project, batch.id), batch.expires_at, WINDOW_SECONDS) <= 0


async def sweep(ports: Ports) -> None:
    """Call somebody for each batch whose time is over, of all projects."""
    open = await ports.database.across(Batch, limit=100_000, open=True)
    ports.deadlines.forget_but(_BATCHES, {(project, batch.id) for project, batch in open})
    if ports.deadlines.unsettled():
        return
    for project, batch in open:
        if batch.status in ("validating", "in_progress") and is_over(ports, project, batch):
            await ports.database.store(project).write(Start(BATCH_JOB, batch.id))
