"""A caller's view of a server that has models and nothing else, for tests of what is asked of them."""

from typing import Any

import msgspec

from everloom.context import Context, Ports, ServerLimits
from everloom.context.bound_models import ModelGate
from everloom.context.caller import Caller
from everloom.context.known_rules import KnownRules
from everloom.context.metering import Meter, UsageRecord
from everloom.models.registry import Models

CALLER = Caller(project="proj_a", key_id="a key", user="somebody")


class Ledger(Meter):
    """A meter that remembers every record, too."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[UsageRecord] = []

    def record(self, record: UsageRecord) -> None:
        super().record(record)
        self.records.append(record)


class _Nothing:
    """A store that holds nothing."""

    async def all(self, cls: type[Any], **where: Any) -> list[Any]:
        return []


def asking(models: Models, meter: Meter | None = None) -> Context:
    """``CALLER``'s view; the other ports are not there."""
    others: dict[str, Any] = dict.fromkeys(field.name for field in msgspec.structs.fields(Ports))
    nothing: Any = _Nothing()
    rules = KnownRules(nothing)
    there = {"models": models, "rules": rules, "gate": ModelGate(meter=meter or Meter()), "limits": ServerLimits()}
    ports = Ports(**others | there)
    return Context(caller=CALLER, store=others["database"], ports=ports)
