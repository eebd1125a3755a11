"""The rules of projects that were read a moment ago, so that a request seldom has to ask the store."""

import time
from typing import Any

from everloom.objects.organization import ORGANIZATION
from everloom.objects.rules import Rules, SpendAlert
from everloom.store.base import Store

_REMEMBER_SECONDS = 2.0
"""How long rules are taken at their word: what another process has changed holds here within this time."""

_REMEMBER_PROJECTS = 10_000


class Known:
    """What holds for a project and, with it, for the organization, and until when that is taken at its word."""

    __slots__ = ("alerts", "found", "limited_as", "models", "organization", "organization_alerts", "project", "until")

    def __init__(self, project: str, rules: list[Rules], alerts: list[SpendAlert], until: float) -> None:
        by_id = {each.id: each for each in rules}
        self.project: Rules = by_id.get(project) or Rules(id=project, created_at=0)
        """Empty where nobody has set any."""
        self.organization: Rules = by_id.get(ORGANIZATION) or Rules(id=ORGANIZATION, created_at=0)
        self.alerts = tuple(each for each in alerts if project and each.project_id == project)
        """The project's."""
        self.organization_alerts = tuple(each for each in alerts if not each.project_id)
        self.until = until
        self.models: Any = None
        """The models that the project sees by them (``Context.models``)."""
        self.found: dict[tuple[str, str], Any] = {}
        """By name and capability, who answers (``Context.find``)."""
        self.limited_as: dict[str, str] = {}
        """By the names of models, those that limits know them by (``Context.find``)."""


class KnownRules:
    """The memory of one process, by project. ``store`` is the organization's. What changes rules calls ``forget``
    behind its write.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Known] = {}
        self._generation = 0
        """Counts the calls of ``forget``: what was read from the store before one is not to be remembered after it."""

    def recall(self, project: str) -> Known | None:
        """The rules of a project, if they were read a moment ago."""
        known = self._known.get(project)
        return known if known is not None and known.until > time.monotonic() else None

    async def of(self, project: str) -> Known:
        """The rules of a project, from the store where they were not read a moment ago."""
        if (known := self.recall(project)) is not None:
            return known
        until, generation = time.monotonic() + _REMEMBER_SECONDS, self._generation
        rules = await self._store.all(Rules, id=[project, ORGANIZATION])
        alerts = await self._store.all(SpendAlert, project_id=["", project])
        known = Known(project, rules, alerts, until)
        if generation == self._generation:
            if len(self._known) >= _REMEMBER_PROJECTS:
                self._known.clear()
            self._known[project] = known
        return known

    def forget(self) -> None:
        """Have every project's rules read anew: some are not what they were."""
        self._generation += 1
        self._known.clear()
