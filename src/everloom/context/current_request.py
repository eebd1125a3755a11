"""What the request that is being answered is told by the models it asks: limits, for the headers of its answer, and
what each of them has cost, for its line in the log.

A context variable, since between a handler and a model's answer lie verbs whose results are bytes.
"""

from contextvars import ContextVar

from everloom.context.admission import Ticket
from everloom.context.metering import UsageRecord

tickets: ContextVar[list[Ticket] | None] = ContextVar("tickets", default=None)
"""Of the requests to models that were admitted; None outside of a request."""


def noted(ticket: Ticket) -> None:
    """Have the answer to the current request, if there is one, tell of a ticket's limits."""
    if (known := tickets.get()) is not None:
        known.append(ticket)


asked: ContextVar[list[tuple[str, UsageRecord]] | None] = ContextVar("asked", default=None)
"""The requests to models that it has led to, with the names that they were asked by; None outside of a request."""


def noted_record(name: str, record: UsageRecord) -> None:
    """Have the line of the current request, if there is one, tell of a request to a model."""
    if (known := asked.get()) is not None:
        known.append((name, record))
