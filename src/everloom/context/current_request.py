"""What the request that is being answered is told by the models it asks: limits, for the headers of its answer.

A context variable, since between a handler and a model's answer lie verbs whose results are bytes.
"""

from contextvars import ContextVar

from everloom.context.admission import Ticket

tickets: ContextVar[list[Ticket] | None] = ContextVar("tickets", default=None)
"""Of the requests to models that were admitted; None outside of a request."""


def noted(ticket: Ticket) -> None:
    """Have the answer to the current request, if there is one, tell of a ticket's limits."""
    if (known := tickets.get()) is not None:
        known.append(ticket)
