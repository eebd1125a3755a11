"""Which backend answers for which model name: exact ids, patterns, aliases, and the upstream for all the rest."""

from collections.abc import Sequence

from everloom.models.base import Backend
from everloom.objects.models import Model


class Models:
    """The model names of a server. ``aliases`` are (pattern, model) pairs, patterns as in ``fnmatch``."""

    def __init__(self, backends: Sequence[tuple[str, Backend, str | None]], aliases: Sequence[tuple[str, str]] = ()):
        raise NotImplementedError

    def resolve(self, name: str) -> tuple[Backend, str]:
        """The backend for a model name and the name it knows the model by; 404 ``model_not_found`` for none."""
        raise NotImplementedError

    async def list(self) -> list[Model]:
        """Every model by name, aliases without wildcards too."""
        raise NotImplementedError
