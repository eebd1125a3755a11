"""Who answers for the platform's names where the settings do not say, and what of the catalogue is on this machine."""

import logging
from collections.abc import Iterable
from pathlib import Path

from everloom.config import Settings
from everloom.models.files.catalogue import (
    CHAT_NAMES,
    SPEECH_NAMES,
    TRANSCRIPTION_NAMES,
    CatalogueModel,
    best_of,
    pulled,
)
from everloom.models.files.formats import Format
from everloom.models.files.weights import DEFAULT_MODEL, EMBEDDING_MODEL, MINILM, SMOLLM2, Weights
from everloom.models.speech.espeak import ESPEAK_MODEL
from everloom.models.transcription.sphinx import SPHINX_MODEL

_logger = logging.getLogger(__name__)

DEFAULTS = (SMOLLM2, MINILM)
"""The weights of the models that are fetched by themselves."""

_IN_THE_BOX = (
    (SPHINX_MODEL, TRANSCRIPTION_NAMES),
    (ESPEAK_MODEL, SPEECH_NAMES),
    (EMBEDDING_MODEL, ("text-embedding-*",)),
    (DEFAULT_MODEL, (*CHAT_NAMES, "davinci-*", "babbage-*")),
)
"""Models that come with an install, and the platform's names of what they do. Chat comes last: its are the widest."""


def has_stand_ins(settings: Settings) -> bool:
    """Whether models of this machine answer for the platform's names: not where there is an upstream to ask."""
    elsewhere = settings.upstream or any(entry.backend == "upstream" for entry in settings.models)
    return settings.stand_ins and not elsewhere


class PulledModels:
    """The pulled models whose names the settings have not given to others, the better ones first.

    ``usable`` are those whose libraries are installed; the others are served all the same, to say what they lack.
    """

    def __init__(self, settings: Settings) -> None:
        self._weights = Weights(settings.weights)
        self._stand_in = has_stand_ins(settings)
        theirs = {entry.id for entry in settings.models}
        self._all = [model for model in pulled(self._weights) if model.name not in theirs]
        self.usable = [model for model in self._all if model.usable()]
        self.unusable = [model for model in self._all if not model.usable()]
        self.chats = [model.name for model in self.usable if model.format == "gguf"]

    def paths(self) -> Iterable[tuple[Format, str, Path]]:
        """Format, name and path of each."""
        return [(model.format, model.name, model.path(self._weights)) for model in self._all]

    def stand_ins(self) -> list[tuple[str, str]]:
        """The platform's names, and the best model that does what they do (``has_stand_ins``)."""
        if not self._stand_in:
            return []
        # Chat comes last: its patterns are the widest.
        best = sorted(best_of(self.usable), key=lambda model: model.format == "gguf")
        found = [(pattern, model.name) for model in best for pattern in model.stands_in_for]
        return found + [(pattern, name) for name, patterns in _IN_THE_BOX for pattern in patterns]

    def chats_for_others(self) -> str | None:
        """What a user is to know of the model that answers for the platform's chat models; None where none does."""
        if not self._stand_in:
            return None
        name = self.chats[0] if self.chats else DEFAULT_MODEL
        return f"{', '.join(CHAT_NAMES)}: answered by {name}, on this machine (EVERLOOM_STAND_INS=false refuses them)"

    def tell(self) -> None:
        """Log who answers, and who cannot and why."""
        for model in self.unusable:
            _logger.warning("%s was pulled and is not used: %s", model.name, lacking(model))
        for model in best_of(self.usable) if self._stand_in else ():
            _logger.info("%s was pulled and answers for %s", model.name, ", ".join(model.stands_in_for))


def lacking(model: CatalogueModel) -> str:
    """What a model that cannot be used needs."""
    return f"it needs pip install 'everloom[{model.extra}]'"


def unneeded(settings: Settings) -> bool:
    """Whether the settings name other models to ask, so that nobody has to wait for the default ones."""
    return bool(settings.upstream or settings.models)


def missing(settings: Settings) -> bool:
    """Whether any of the default weights is not here."""
    weights = Weights(settings.weights)
    return not all(map(weights.has, DEFAULTS))
