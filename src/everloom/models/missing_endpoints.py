"""Servers of models that lack something (completions, for one): how they say so, and for how long it is believed."""

import time
from weakref import WeakKeyDictionary

from everloom.kit.errors import ApiError, NoSuchEndpoint
from everloom.models.base import Backend

LACKS_SECONDS = 300.0
"""How long it is believed that a server lacks something."""

_NO_ENDPOINT = ("not found", "method not allowed", "invalid url", "unknown request url", "unknown url")
"""How the messages begin by which servers say that a path leads nowhere, in an error of the platform's form or not."""


class MissingEndpoints:
    """The backends whose server lacks something, as far as they were asked for it."""

    def __init__(self) -> None:
        self._until: WeakKeyDictionary[Backend, float] = WeakKeyDictionary()
        """Until when (monotonic) that is believed."""

    def __contains__(self, backend: Backend) -> bool:
        return self._until.get(backend, 0.0) >= time.monotonic()

    def add(self, backend: Backend) -> None:
        """Believe it from now on."""
        self._until[backend] = time.monotonic() + LACKS_SECONDS


def says_no_endpoint(error: ApiError) -> bool:
    """Whether a server says that it has no such endpoint; one that has it may still not know the model."""
    if isinstance(error, NoSuchEndpoint):
        return True
    told = error.code == "unknown_url" or error.message.lower().startswith(_NO_ENDPOINT)
    return error.status in (404, 405) and error.code != "model_not_found" and told
