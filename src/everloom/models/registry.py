"""Which backend answers for which model name: exact ids, patterns, aliases, and the upstream for all the rest."""

import asyncio
import re
from collections.abc import Sequence
from fnmatch import translate

from everloom.kit.clock import now
from everloom.kit.errors import ApiError, ModelFailure, NotFound
from everloom.models.base import Backend
from everloom.objects.models import Model

_WILDCARDS = re.compile(r"[*?\[]")
_LONGEST_NAME_SHOWN = 128


class Models:
    """The model names of a server.

    ``backends`` are (id, backend, own name) triples: the id is a name or a pattern as in ``fnmatch``, the own
    name is what the backend calls the model (None: as it was asked for). ``aliases`` are (pattern, model) pairs;
    an alias leads to a model, never to another alias. ``default`` serves every name that nothing else names.

    The more exact entry wins: an exact alias, an exact id, an alias with wildcards, an id with wildcards, the
    default; among equals the first one.
    """

    def __init__(
        self,
        backends: Sequence[tuple[str, Backend, str | None]],
        aliases: Sequence[tuple[str, str]] = (),
        *,
        default: Backend | None = None,
    ) -> None:
        self._exact: dict[str, tuple[Backend, str]] = {}
        self._patterns: list[tuple[re.Pattern[str], Backend, str | None]] = []
        self._aliases: dict[str, str] = {}
        self._alias_patterns: list[tuple[re.Pattern[str], str]] = []
        self._default = default
        self._created = now()
        for name, backend, own in backends:
            if _WILDCARDS.search(name):
                self._patterns.append((re.compile(translate(name)), backend, own))
            else:
                self._exact.setdefault(name, (backend, own or name))
        for pattern, target in aliases:
            if _WILDCARDS.search(pattern):
                self._alias_patterns.append((re.compile(translate(pattern)), target))
            else:
                self._aliases.setdefault(pattern, target)
        distinct = {id(backend): backend for _, backend, _ in backends}
        if default is not None:
            distinct.setdefault(id(default), default)
        self._backends = list(distinct.values())

    async def open(self) -> None:
        """Open every backend once, however many names it serves."""
        for backend in self._backends:
            await backend.open()

    async def close(self) -> None:
        """Close every backend, also when one of them fails at it."""
        results = await asyncio.gather(*(backend.close() for backend in self._backends), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def resolve(self, name: str) -> tuple[Backend, str]:
        """The backend for a model name and the name it knows the model by; 404 ``model_not_found`` for none."""
        target = self._target(name)
        found = self._serving(target)
        if found is None:
            raise _unknown(name, target)
        return found

    async def list(self) -> list[Model]:
        """Every model by name, aliases without wildcards too. An upstream that does not answer adds none."""
        served = dict(zip(map(id, self._backends), await asyncio.gather(*map(_offers, self._backends)), strict=True))
        models: dict[str, Model] = {}
        for name, (backend, own) in self._exact.items():
            models[name] = self._named(name, own, served[id(backend)])
        for pattern, backend, other in self._patterns:
            for own_name, model in served[id(backend)].items():
                if other is None and pattern.match(own_name):
                    models.setdefault(own_name, model)
        if self._default is not None:
            for own_name, model in served[id(self._default)].items():
                models.setdefault(own_name, model)
        for alias, target in self._aliases.items():
            found = self._serving(target)
            if found is not None:
                models[alias] = self._named(alias, found[1], served[id(found[0])])
        return list(models.values())

    async def get(self, name: str) -> Model:
        """One model under the name asked for; 404 for what nobody serves."""
        backend, own = self.resolve(name)
        served = await _offers(backend)
        unlisted = self._target(name) == name and name not in self._exact and own == name
        if unlisted and served and own not in served:
            raise _unknown(name, name)
        return self._named(name, own, served)

    def _target(self, name: str) -> str:
        """The model name behind ``name``, which is itself where no alias fits."""
        if name in self._aliases:
            return self._aliases[name]
        if name in self._exact:
            return name
        return next((target for pattern, target in self._alias_patterns if pattern.match(name)), name)

    def _serving(self, name: str) -> tuple[Backend, str] | None:
        if name in self._exact:
            return self._exact[name]
        for pattern, backend, own in self._patterns:
            if pattern.match(name):
                return backend, own or name
        return None if self._default is None or not name else (self._default, name)

    def _named(self, name: str, own: str, served: dict[str, Model]) -> Model:
        """``own`` as its backend describes it, under the name that callers use."""
        model = served.get(own)
        if model is None:
            return Model(id=name, created=self._created, owned_by="everloom")
        return Model(id=name, created=model.created, owned_by=model.owned_by)


async def _offers(backend: Backend) -> dict[str, Model]:
    """What a backend says it serves, by name; nothing when it does not answer."""
    try:
        return {model.id: model for model in await backend.models()}
    except ModelFailure:
        return {}


def _unknown(name: str, target: str) -> ApiError:
    shown = name[:_LONGEST_NAME_SHOWN]
    hint = f"EVERLOOM_ALIASES='{shown}=smollm2-135m'"
    if target != name:
        hint = f"it is an alias of `{target}`, which nothing here serves; correct the alias, for example {hint}"
    else:
        hint = f"to let a model of this server answer for it, set {hint}"
    return NotFound(
        f"The model `{shown}` does not exist or you do not have access to it. (On this server: {hint}.)",
        param="model",
        code="model_not_found",
    )
