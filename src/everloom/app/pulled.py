"""What of the catalogue is on this machine, as the server takes it in: names, paths, and the platform's names."""

import logging
from collections.abc import Iterable
from pathlib import Path

from everloom.config import Settings
from everloom.models.files.catalogue import CatalogueModel, best_of, pulled
from everloom.models.files.formats import Format
from everloom.models.files.weights import Weights

_logger = logging.getLogger(__name__)


class PulledModels:
    """The pulled models whose names the settings have not given to others, the better ones first.

    ``usable`` are those whose libraries are installed; the others are served all the same, to say what they lack.
    """

    def __init__(self, settings: Settings) -> None:
        self._weights = Weights(settings.weights)
        self._upstream = bool(settings.upstream)
        theirs = {entry.id for entry in settings.models}
        self._all = [model for model in pulled(self._weights) if model.name not in theirs]
        self.usable = [model for model in self._all if model.usable()]
        self.unusable = [model for model in self._all if not model.usable()]
        self.chats = [model.name for model in self.usable if model.format == "gguf"]

    def paths(self) -> Iterable[tuple[Format, str, Path]]:
        """Format, name and path of each."""
        return [(model.format, model.name, model.path(self._weights)) for model in self._all]

    def stand_ins(self) -> list[tuple[str, str]]:
        """The platform's names of what they do, and the best that does it; none where there is an upstream to ask."""
        if self._upstream:
            return []
        # Chat comes last: its patterns are the widest.
        best = sorted(best_of(self.usable), key=lambda model: model.format == "gguf")
        return [(pattern, model.name) for model in best for pattern in model.stands_in_for]

    def tell(self) -> None:
        """Log who answers, and who cannot and why."""
        for model in self.unusable:
            _logger.warning("%s was pulled and is not used: %s", model.name, lacking(model))
        for model in () if self._upstream else best_of(self.usable):
            _logger.info("%s was pulled and answers for %s", model.name, ", ".join(model.stands_in_for))


def lacking(model: CatalogueModel) -> str:
    """What a model that cannot be used needs."""
    return f"it needs pip install 'everloom[{model.extra}]'"
