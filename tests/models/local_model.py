"""The default model, loaded once for a test module, and words to talk to it with."""

import asyncio
import json
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from everloom.models.llama.backend import LlamaBackend
from tests.weights import default_gguf, default_weights

T = TypeVar("T")
NAME = "smollm2-135m"


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def function(name: str, about: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": about, "parameters": parameters}}


class Local:
    """The backend and a loop to run it in."""

    def __init__(self, runner: asyncio.Runner, backend: LlamaBackend) -> None:
        self.runner = runner
        self.backend = backend

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def request(self, **body: Any) -> dict[str, Any]:
        return {"model": NAME, "temperature": 0, "max_tokens": 16, **body}

    async def bytes(self, **body: Any) -> bytes:
        answer = await self.backend.chat(self.request(**body))
        try:
            return b"".join([block async for block in answer.blocks()])
        finally:
            await answer.close()

    def chat(self, **body: Any) -> ChatCompletion:
        """The whole answer, checked by the official SDK's own types."""
        said = json.loads(self.run(self.bytes(**body)))
        assert set(said) == {"id", "object", "created", "model", "system_fingerprint", "choices", "usage"}
        return ChatCompletion.model_validate(said, strict=True)

    def stream(self, **body: Any) -> list[ChatCompletionChunk]:
        """The chunks of a streamed answer."""
        text = self.run(self.bytes(stream=True, **body)).decode()
        *events, done, rest = text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        return [ChatCompletionChunk.model_validate(json.loads(event.removeprefix("data: "))) for event in events]


@contextmanager
def loaded(*, path: Path | None = None, **settings: Any) -> Iterator[Local]:
    """A backend of the default model, or of the file at ``path``; closed at the end."""
    with asyncio.Runner() as runner:
        backend = LlamaBackend({NAME: path or default_gguf()}, default_weights(), **settings)
        try:
            yield Local(runner, backend)
        finally:
            runner.run(backend.close())
