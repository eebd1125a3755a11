"""Ask a model for a legacy completion, and meter it. Callers: completions, batches.

An answer passes through in the bytes it comes in. Many servers of today have chat completions alone: for these the
answer is built on chat (``completion_by_chat.py``), and that they have no completions is remembered for a while.
"""

import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Protocol
from weakref import WeakKeyDictionary

from everloom.kit.errors import ApiError, NoSuchEndpoint
from everloom.models.base import Completes
from everloom.models.completion_text import prompts_of
from everloom.models.registry import Models
from everloom.models.tokens import estimate_text
from everloom.objects.base import JsonObject
from everloom.work.inference.chat import Metered
from everloom.work.inference.completion_by_chat import by_chat
from everloom.work.inference.metering import refused

LACKS_SECONDS = 300.0
"""How long it is believed that a server has no completions."""

_NO_ENDPOINT = ("not found", "method not allowed", "invalid url", "unknown request url", "unknown url")
"""How the messages begin by which servers say that a path leads nowhere, in an error of the platform's form or not."""

_lacking: WeakKeyDictionary[Completes, float] = WeakKeyDictionary()
"""Backends whose server has no completions, and until when (monotonic) that is believed."""


class Answered(Protocol):
    """An answer on its way, metered once it is closed. ``whole`` is for one that is not streamed."""

    content_type: str

    def blocks(self) -> AsyncIterator[bytes]: ...

    async def whole(self) -> bytes: ...

    async def close(self) -> None: ...


async def ask(models: Models, body: JsonObject, raw: bytes | None = None) -> Answered:
    """Have the model that ``body`` names go on with its prompts, as the request says.

    ``raw`` as in ``inference.ask``. Errors: 404 ``model_not_found``, the platform's 4xx, 400 ``unsupported_parameter``
    for what cannot be built on chat, ``ModelFailure``. The answer must be closed.
    """
    backend, own = models.resolve(body["model"], "complete")
    if _lacking.get(backend, 0.0) < time.monotonic():
        asked = body if own == body["model"] else {**body, "model": own}
        try:
            answer = await backend.complete(asked, raw if asked is body else None)
        except ApiError as error:
            if not _has_none(error):
                refused(own, error)
                raise
            _lacking[backend] = time.monotonic() + LACKS_SECONDS
        else:
            return Metered(answer, partial(_count, body), streams=bool(body.get("stream")))
    return await by_chat(models, body, own)


def _has_none(error: ApiError) -> bool:
    """Whether a server has no such endpoint; one that has it may still not know the model."""
    if isinstance(error, NoSuchEndpoint):
        return True
    told = error.code == "unknown_url" or error.message.lower().startswith(_NO_ENDPOINT)
    return error.status in (404, 405) and error.code != "model_not_found" and told


async def _count(body: JsonObject) -> int:
    """An upper estimate of the prompts' tokens."""
    return sum(len(prompt) if isinstance(prompt, list) else estimate_text(prompt or "") for prompt in prompts_of(body))
