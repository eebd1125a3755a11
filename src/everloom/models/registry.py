"""Which backend answers for which model name: exact ids, patterns, aliases, and the upstream for all the rest."""

import asyncio
import copy
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from typing import Any, Literal, NamedTuple, overload

from everloom.kit.clock import now
from everloom.kit.errors import ApiError, BadRequest, ModelFailure, NotFound
from everloom.models.base import Backend, Capability, Chats, Completes, Draws, Embeds, Moderates, Speaks, Transcribes
from everloom.models.permitted import Permitted
from everloom.objects.model_names import WILDCARDS, plain_name
from everloom.objects.models import Model
from everloom.objects.rules import ModelPermissions

_LONGEST_NAME = 256
_LONGEST_NAME_SHOWN = 128

_LOOK_SECONDS = 2.0
"""Between two looks at what a backend lists, for the sake of a name that was not there."""

VERBS: dict[Capability, str] = {
    "chat": "chat",
    "complete": "complete text",
    "embed": "make embeddings",
    "moderate": "moderate",
    "speak": "speak",
    "transcribe": "transcribe",
    "draw": "make images",
}
"""What a model does, in messages."""

_HOW_TO_ADD: dict[Capability, str] = {
    "draw": "add a [[models]] table with the folder of a diffusers pipeline, or an upstream: docs/images.md",
}
"""How a server gets a model for it, where that is not in docs/settings.md alone."""


class ServedModel(NamedTuple):
    """Who answers for a name, what it calls the model, and what the model is called here behind all aliases.

    ``named``: whether the settings name that model; else a caller may have made the name up (``Models.knows``).
    """

    backend: Any
    backend_model: str
    model: str
    named: bool = True


class _Listed:
    """The names that a backend has ever listed, in plain spelling, and when it may be asked again."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.until = 0.0


class Models:
    """The model names of a server.

    ``backends`` are (id, backend, backend model) triples: the id is a name or a pattern as in ``fnmatch``, the
    backend model is what the backend calls it (None: as it was asked for). ``aliases`` are (pattern, model) pairs;
    an alias leads to a model, never to another alias. ``default`` serves every name that nothing else names, but for
    those of ``stand_ins``: aliases of this server's own, which any other entry overrules.

    The more exact entry wins: an exact alias, an exact id, an alias with wildcards, an id with wildcards, a
    stand-in, the default; among equals the first one. An entry with wildcards is passed over where its model does not
    offer what is asked, so that ``*=a-chat-model,*=a-voice`` finds each of them its requests.

    ``projects`` says of some ids which projects may know of them; for the others they do not exist (``seen_by``), nor
    does the next best entry answer in their place. ``hidden`` are the ids that do not exist.
    """

    def __init__(
        self,
        backends: Sequence[tuple[str, Backend, str | None]],
        aliases: Sequence[tuple[str, str]] = (),
        *,
        default: Backend | None = None,
        stand_ins: Sequence[tuple[str, str]] = (),
        projects: Mapping[str, Collection[str]] | None = None,
        hidden: Collection[str] = (),
    ) -> None:
        self._entries = backends
        self._all_aliases = aliases
        self._all_stand_ins = stand_ins
        self._projects = projects or {}
        self._views: dict[frozenset[str], Models] = {}
        self._exact: dict[str, tuple[Backend, str] | None] = {}
        self._patterns: list[tuple[re.Pattern[str], Backend | None, str | None]] = []
        self._aliases: dict[str, str] = {}
        self._alias_patterns: list[tuple[re.Pattern[str], str]] = []
        self._default = default
        self._permitted: Permitted | None = None
        self._created = now()
        for name, backend, backend_model in backends:
            if WILDCARDS.search(name):
                self._patterns.append((re.compile(translate(name)), None if name in hidden else backend, backend_model))
            else:
                self._exact.setdefault(name, None if name in hidden else (backend, backend_model or name))
        for pattern, target in aliases:
            if WILDCARDS.search(pattern):
                self._alias_patterns.append((re.compile(translate(pattern)), target))
            else:
                self._aliases.setdefault(pattern, target)
        self._stand_ins = [(re.compile(translate(pattern)), target) for pattern, target in stand_ins]
        distinct = {id(backend): backend for _, backend, _ in backends}
        if default is not None:
            distinct.setdefault(id(default), default)
        self._backends = list(distinct.values())
        self._names = frozenset(map(plain_name, (*self._exact, *(target for _, target in aliases))))
        self._listed: dict[int, _Listed] = {}  # By the ids of backends.

    def seen_by(self, project: str, permissions: ModelPermissions | None = None) -> "Models":
        """The models that a project may know of, with the permissions that an administrator has set for it. They are
        opened and closed with the whole.
        """
        seen = self._shown_to(project)
        if permissions is not None:
            seen = copy.copy(seen)
            seen._permitted = Permitted(permissions)
        return seen

    def _shown_to(self, project: str) -> "Models":
        """What the settings let a project know of."""
        hidden = frozenset(name for name, seers in self._projects.items() if project not in seers)
        if not hidden:
            return self
        if hidden not in self._views:
            self._views[hidden] = Models(
                self._entries, self._all_aliases, default=self._default, stand_ins=self._all_stand_ins, hidden=hidden
            )
        return self._views[hidden]

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

    @overload
    def resolve(self, name: str, capability: Literal["chat"]) -> tuple[Chats, str]: ...
    @overload
    def resolve(self, name: str, capability: Literal["complete"]) -> tuple[Completes, str]: ...
    @overload
    def resolve(self, name: str, capability: Literal["embed"]) -> tuple[Embeds, str]: ...
    @overload
    def resolve(self, name: str, capability: Literal["moderate"]) -> tuple[Moderates, str]: ...
    @overload
    def resolve(self, name: str, capability: Literal["speak"]) -> tuple[Speaks, str]: ...
    @overload
    def resolve(self, name: str, capability: Literal["transcribe"]) -> tuple[Transcribes, str]: ...
    @overload
    def resolve(self, name: str, capability: Literal["draw"]) -> tuple[Draws, str]: ...
    @overload
    def resolve(self, name: str, capability: None = None) -> tuple[Backend, str]: ...
    @overload
    def resolve(self, name: str, capability: Capability) -> tuple[Any, str]: ...

    def resolve(self, name: str, capability: Capability | None = None) -> tuple[Any, str]:
        """The backend that does ``capability`` (None: anything) for a model name, and the name it knows the model by.

        Errors: 404 ``model_not_found`` for a name that nobody serves, 400 for a model that does something else.
        """
        found = self.find(name, capability)
        return found.backend, found.backend_model

    def limited_as(self, name: str, capability: Capability | None = None) -> str:
        """The name that the limits of a model are kept under, whichever of its names it is asked for by: its own one
        here, behind all aliases, in the spelling that all have in common. Errors: as ``resolve``.
        """
        return plain_name(self.find(name, capability).model)

    async def knows(self, found: ServedModel) -> bool:
        """Whether the settings name a model, or its server has listed it some time: the names of all others may have
        been made up by callers, where a server answers for whatever name.
        """
        return found.named or plain_name(found.model) in self._names or await self.lists(found)

    async def lists(self, found: ServedModel) -> bool:
        """Whether its server has listed a model some time."""
        name = plain_name(found.model)
        listed = self._listed.setdefault(id(found.backend), _Listed())
        if name not in listed.names and time.monotonic() >= listed.until:
            listed.names.update(map(plain_name, await _served_by(found.backend)))
            listed.until = time.monotonic() + _LOOK_SECONDS
        return name in listed.names

    def find(self, name: str, capability: Capability | None) -> ServedModel:
        """``resolve`` and ``limited_as`` at once."""
        if len(name) > _LONGEST_NAME or not name.isprintable():  # No model's: such names are kept nowhere.
            raise _unknown(name, name, self._offering(capability or "chat"), capability)
        known = False
        for found in self._candidates(name):
            if capability is None or capability in found.backend.capabilities(found.backend_model):
                return found
            known = True
        if known and capability is not None:
            raise _does_not(name, capability, self._offering(capability))
        raise self.unknown(name, capability)

    def _candidates(self, name: str) -> Iterator[ServedModel]:
        """Who may answer for a name, the first choice first. What is named exactly is the only choice."""
        if not self._may(name):
            return
        if name in self._aliases or name in self._exact:
            yield from self._leading(name, [self._target(name)])
            return
        yield from self._leading(name, [target for pattern, target in self._alias_patterns if pattern.match(name)])
        for pattern, backend, backend_model in self._patterns:
            if pattern.match(name):
                model = backend_model or name
                if backend is None or not self._may(name, model):
                    return
                yield ServedModel(backend, model, model, backend_model is not None)
        yield from self._leading(name, [target for pattern, target in self._stand_ins if pattern.match(name)])
        if self._default is not None and name:
            yield ServedModel(self._default, name, name, named=False)

    def _leading(self, name: str, targets: Iterable[str]) -> Iterator[ServedModel]:
        """Who serves the targets of ``name``, as far as it may be asked for where it leads there."""
        for found in filter(None, map(self._serving, targets)):
            if self._may(name, found.model, found.backend_model):
                yield found

    def _may(self, name: str, *behind: str) -> bool:
        return self._permitted is None or self._permitted(name, *behind)

    def _offering(self, capability: Capability) -> str | None:
        """The first model that is named exactly and does ``capability``, as an example: one of which it is known rather
        than an upstream's, which may do anything.
        """
        offered: dict[str, int] = {}
        for name, entry in self._exact.items():
            if entry is not None and self._may(name, entry[1]):
                offers = entry[0].capabilities(entry[1])
                if capability in offers:
                    offered[name] = len(offers)
        return next((name for name, count in offered.items() if count < len(VERBS)), next(iter(offered), None))

    def permits(self, name: str, *behind: str) -> bool:
        """Whether the permissions leave ``name`` to the project, where it leads to a model of the names ``behind``."""
        return self._may(name, *behind)

    def unknown(self, name: str, capability: Capability | None, *, telling: bool = True) -> "UnknownModel":
        """What to say of a name that nobody serves; ``telling``: with the name of what stands behind it."""
        target = self._target(name) if telling and not self._permitted else name
        return _unknown(name, target, self._offering(capability or "chat"), capability)

    def target(self, name: str) -> str:
        """The model behind an exact alias; ``name`` itself where it is none."""
        return self._aliases.get(name, name)

    def names(self, name: str) -> bool:
        """Whether the settings name it exactly."""
        return name in self._aliases or name in self._exact

    async def list(self) -> list[Model]:
        """Every model by name, aliases without wildcards too. An upstream that does not answer adds none."""
        served = dict(zip(map(id, self._backends), await asyncio.gather(*map(_served_by, self._backends)), strict=True))
        models: dict[str, Model] = {}
        for name, entry in self._exact.items():
            if entry is not None and self._may(name, entry[1]):
                models[name] = self._named(name, entry[1], served[id(entry[0])])
        for pattern, backend, other in self._patterns:
            for own_name, model in served[id(backend)].items() if backend is not None else ():
                if other is None and pattern.match(own_name) and not self._hides(own_name) and self._may(own_name):
                    models.setdefault(own_name, model)
        if self._default is not None:
            for own_name, model in served[id(self._default)].items():
                if not self._hides(own_name) and self._may(own_name):
                    models.setdefault(own_name, model)
        for alias, target in self._aliases.items():
            for found in self._leading(alias, [target]):
                models[alias] = self._named(alias, found.backend_model, served[id(found.backend)])
        return list(models.values())

    async def get(self, name: str) -> Model:
        """One model under the name asked for; 404 for what nobody serves."""
        backend, backend_model = self.resolve(name)
        served = await _served_by(backend)
        unlisted = self._target(name) == name and name not in self._exact and backend_model == name
        if unlisted and served and backend_model not in served:
            raise _unknown(name, name, self._offering("chat"))
        return self._named(name, backend_model, served)

    def _target(self, name: str) -> str:
        """The model name behind ``name``, which is itself where no alias fits."""
        if name in self._aliases:
            return self._aliases[name]
        if name in self._exact:
            return name
        return next((target for pattern, target in self._alias_patterns if pattern.match(name)), name)

    def serves(self, target: str) -> bool:
        """Whether an alias may lead to a name: a model answers for it, and not another alias."""
        return self._serving(target) is not None

    def _serving(self, name: str) -> ServedModel | None:
        if name in self._exact:
            entry = self._exact[name]
            return None if entry is None else ServedModel(*entry, name)
        for pattern, backend, backend_model in self._patterns:
            if pattern.match(name):
                model = backend_model or name
                return None if backend is None else ServedModel(backend, model, model)
        return None if self._default is None or not name else ServedModel(self._default, name, name)

    def _hides(self, name: str) -> bool:
        """Whether the entry that would answer for a name is one that does not exist here."""
        if name in self._exact:
            return self._exact[name] is None
        return next((backend is None for pattern, backend, _ in self._patterns if pattern.match(name)), False)

    def _named(self, name: str, backend_model: str, served: dict[str, Model]) -> Model:
        """``backend_model`` as its backend describes it, under the name that callers use. The owner of what an upstream
        does not list is ``system``, as the platform says of its own.
        """
        model = served.get(backend_model)
        if model is None:
            return Model(id=name, created=self._created, owned_by="system")
        return Model(id=name, created=model.created, owned_by=model.owned_by)


async def _served_by(backend: Backend) -> dict[str, Model]:
    """What a backend says it serves, by name; nothing when it does not answer."""
    try:
        return {model.id: model for model in await backend.models()}
    except ModelFailure:
        return {}


class UnknownModel(NotFound):
    """404: nobody serves a model of this name. ``hint`` says, in brackets, what an operator can do about it."""

    def __init__(self, name: str, hint: str) -> None:
        self.name = name[:_LONGEST_NAME_SHOWN]
        self.hint = f"(On this server: {hint}.)"
        text = f"The model `{self.name}` does not exist or you do not have access to it. {self.hint}"
        super().__init__(text, param="model", code="model_not_found")


def _unknown(name: str, target: str, example: str | None, capability: Capability | None = None) -> UnknownModel:
    shown = name[:_LONGEST_NAME_SHOWN]
    if example is None:
        how = _HOW_TO_ADD.get(capability or "chat", "see [[models]] in docs/settings.md")
        hint = f"no model that does this is set up; {how}"
    elif target != name:
        hint = f"it is an alias of `{target}`, which nothing here serves; correct the alias, for example {{}}"
    else:
        hint = "to let a model of this server answer for it, set {}"
    return UnknownModel(name, hint.format(f"EVERLOOM_ALIASES='{shown}={example}'"))


def _does_not(name: str, capability: Capability, example: str | None) -> ApiError:
    shown = name[:_LONGEST_NAME_SHOWN]
    instead = f" On this server `{example}` does." if example else ""
    if not example and capability in _HOW_TO_ADD:
        instead = f" (On this server no model does; {_HOW_TO_ADD[capability]}.)"
    return BadRequest(
        f"The model `{shown}` does not {VERBS[capability]}.{instead}", param="model", code="invalid_model"
    )
