"""What the ends of a run have in common, whoever brings them about: its executor, or the last resort."""

from collections.abc import Iterable, Mapping, Sequence

from everloom.kit.errors import ApiError
from everloom.objects.runs import RunError, RunStatus
from everloom.objects.steps import StepError, StepStatus
from everloom.store.base import Missing, Operation

STEP_STATUS: Mapping[RunStatus, StepStatus] = {"cancelled": "cancelled", "expired": "expired"}
"""How open steps end with their run; by default as failed."""


def step_error(error: RunError | None) -> StepError | None:
    """The error of a run as its open steps show it."""
    if error is None:
        return None
    limited = error.code == "rate_limit_exceeded"
    return StepError(code="rate_limit_exceeded" if limited else "server_error", message=error.message)


def model_error(error: ApiError) -> RunError:
    """How a run says that its model could not be asked."""
    if error.status == 429:
        return RunError(code="rate_limit_exceeded", message=error.message)
    return RunError(code="invalid_prompt" if 400 <= error.status < 500 else "server_error", message=error.message)


def deletion_error(missing: Missing) -> RunError:
    """How a run says that something was deleted that it cannot do without."""
    text = f"The {missing.noun} '{missing.id}' was deleted while the run was working with it."
    return RunError(code="server_error", message=text)


def without(missing: Sequence[Missing], operations: Iterable[Operation]) -> list[Operation]:
    """The operations but those that ask for what is missing."""
    return [operation for operation in operations if not any(each.concerns(operation) for each in missing)]
