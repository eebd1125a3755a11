"""The models' port. The wire form of the reference is the common tongue: a request body goes in, the
answer's bytes come out, so that what needs no change passes through untouched.

Adapters: ``local.py`` (llama.cpp in a child process) and ``upstream.py`` (any OpenAI-compatible server);
contract suite: ``tests/contracts/test_models.py``.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct

from everloom.objects.base import JsonObject
from everloom.objects.models import Model


class Answer(Protocol):
    """A model's answer on its way. Close it early and the model stops."""

    content_type: str
    model: str
    """The name of the model that really answers."""

    def blocks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, cut anywhere. A broken upstream raises ``ModelFailure`` here."""
        ...

    async def close(self) -> None:
        """Let go of the answer; the model's work on it ends within a token."""
        ...


class Traits(Struct, frozen=True, kw_only=True):
    """``context_window``: tokens that prompt and answer may have together.

    ``chooses_tools``: whether the model was trained to call tools when they are needed; one that was not is
    better given what it needs.
    """

    context_window: int
    chooses_tools: bool = True


class Backend(Protocol):
    """One server of models. ``body`` is a request of the reference whose ``model`` is the backend's own name."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def models(self) -> Sequence[Model]:
        """What it serves right now."""
        ...

    async def chat(self, body: JsonObject, raw: bytes | None = None) -> Answer:
        """createChatCompletion. Returns once the model has accepted the request; with ``stream`` the blocks
        are server-sent events that end in ``data: [DONE]``. Errors: ``ApiError`` in the platform's words.

        ``raw`` is ``body`` as its sender wrote it, for a backend that hands requests on unread.
        """
        ...

    async def embed(self, body: JsonObject) -> bytes:
        """createEmbedding: the whole answer, with ``encoding_format`` float or base64 as asked. Errors: as ``chat``;
        400 with code ``context_length_exceeded`` when a text is longer than the model reads.
        """
        ...

    async def count(self, body: JsonObject) -> int:
        """The tokens of the prompt that ``chat(body)`` would read: exact locally, an upper estimate upstream."""
        ...

    async def traits(self, model: str) -> Traits:
        """What one should know of a model before asking it."""
        ...
