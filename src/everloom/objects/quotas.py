"""What processes have taken of limits and budgets, and have under way: kept so that all of them together take no more
than there is, and that nothing is lost when one of them is killed.
"""

from msgspec import Struct

from everloom.objects.base import Object

NANO = 1_000_000_000
"""Money is counted in billionths of a US dollar, whole ones."""


class WindowEntry(Struct, array_like=True):
    """``amount`` that was taken until ``at`` (Unix seconds, a whole tick)."""

    at: float
    amount: int


class RateWindows(Object, kw_only=True):
    """What all processes have taken of one model's rate limits in one project, by metric, in the order of time.

    ``id`` is the project's id and the model's name with a slash between. ``at`` is the latest time that has been
    written here: no process counts by an earlier one.
    """

    at: float = 0.0
    windows: dict[str, list[WindowEntry]] = {}


class Share(Struct, kw_only=True):
    """What one process holds of a budget: ``held`` is reserved for what it has under way, ``reported`` all that it has
    ever spent. Both in billionths of a dollar.
    """

    held: int = 0
    reported: int = 0


class Spend(Object, kw_only=True):
    """What a project (``id`` is its id) or the organization has spent in a calendar month, in billionths of a dollar.

    ``month`` as in ``2026-11`` (UTC). ``alerts`` are the ids of those that have been sent in this month;
    ``alerts_before`` in the month ``before``.
    """

    month: str = ""
    settled: int = 0
    shares: dict[str, Share] = {}
    """By process."""
    alerts: list[str] = []
    before: str = ""
    alerts_before: list[str] = []

    def turn(self, month: str) -> None:
        """Begin a month, if it is later than this one: a clock that goes back does not bring a month back."""
        if month > self.month:
            self.before, self.alerts_before = self.month, self.alerts
            self.month, self.settled, self.alerts = month, 0, []

    def turn_back(self, month: str, settled: int) -> None:
        """Go on with a month that was left too early, by a clock that was wrong; ``settled`` is what it had spent."""
        self.alerts = self.alerts_before if self.before == month else []
        self.month, self.settled = month, settled


class ServerProcess(Object, kw_only=True):
    """A process that asks models on behalf of callers: alive until ``until`` (Unix seconds), which it puts off.

    ``place`` names the machine, and the namespace on it, in which ``pid`` is looked for; ``started`` is when that
    process began, by the system's count.
    """

    until: int
    place: str
    pid: int
    started: float


class Reservation(Object, kw_only=True):
    """What one process may have under way, at most, for one key and model: what it has been asked, and has not entered
    into the ledger yet. What is left of it when the process has died stands as used, as an estimate.
    """

    process_id: str
    project_id: str
    kind: str
    key_id: str
    user_id: str
    model: str
    batch: bool
    amounts: list[int]
    """Of ``RESERVED``, in that order."""


RESERVED = ("requests", "input_tokens", "output_tokens", "images", "characters", "milliseconds")
"""The ledger's measures that can be told, roughly, before a model is asked."""
