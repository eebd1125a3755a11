"""What every backend promises beside chat, whoever answers behind it: the other ports of ``models/base.py``."""

import asyncio
import base64
import contextlib
from array import array
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloom.kit.errors import BadRequest
from everloom.models.base import Answer, Form, FormFile, Offer
from everloom.models.files.weights import DEFAULT_MODEL, EMBEDDING_MODEL, SMOLLM2
from everloom.models.llama.backend import LocalBackend
from everloom.models.memory_budget import MemoryBudget, budget_of_machine
from everloom.models.minilm.backend import MiniLMBackend
from everloom.models.minilm.moderation import MODERATION_MODEL, MiniLMModeration
from everloom.models.speech.espeak import ESPEAK_MODEL, EspeakBackend
from everloom.models.transcription.sphinx import SPHINX_MODEL, SphinxBackend
from everloom.models.upstream.backend import UpstreamBackend
from tests.offers import CATEGORIES, serve_all, wav
from tests.scripted import ScriptedUpstream
from tests.weights import default_weights

Opened = contextlib.AbstractAsyncContextManager[tuple[Any, str]]
"""An open backend, and the name of a model on it that does what the test asks."""


@contextlib.asynccontextmanager
async def upstream() -> AsyncIterator[tuple[Any, str]]:
    with ScriptedUpstream() as server:
        serve_all(server)
        backend = UpstreamBackend(server.url, retries=0)
        await backend.open()
        try:
            yield backend, "gpt-4o"
        finally:
            await backend.close()


def alone(make: Callable[[], Any], name: str) -> Callable[[], Opened]:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[tuple[Any, str]]:
        backend = make()
        await backend.open()
        try:
            yield backend, name
        finally:
            await backend.close()

    return opened


def _local() -> LocalBackend:
    return LocalBackend({DEFAULT_MODEL: SMOLLM2}, default_weights())


def _minilm() -> MiniLMBackend:
    return MiniLMBackend(EMBEDDING_MODEL, default_weights(), MemoryBudget(budget_of_machine()))


@contextlib.asynccontextmanager
async def moderator() -> AsyncIterator[tuple[Any, str]]:
    async with alone(_minilm, EMBEDDING_MODEL)() as (minilm, model):
        yield MiniLMModeration(minilm.embed, model), MODERATION_MODEL


ADAPTERS: dict[Offer, dict[str, Callable[[], Opened]]] = {
    "complete": {"upstream": upstream, "local": alone(_local, DEFAULT_MODEL)},
    "embed": {"upstream": upstream, "minilm": alone(_minilm, EMBEDDING_MODEL)},
    "moderate": {"upstream": upstream, "minilm": moderator},
    "speak": {"upstream": upstream, "espeak": alone(EspeakBackend, ESPEAK_MODEL)},
    "transcribe": {"upstream": upstream, "sphinx": alone(SphinxBackend, SPHINX_MODEL)},
}


def of(offer: Offer) -> Any:
    """The test, for each adapter that offers this."""
    found = ADAPTERS[offer]
    return pytest.mark.parametrize("opened", list(found.values()), ids=list(found))


EVERY = [(offer, name, opened) for offer, found in ADAPTERS.items() for name, opened in found.items()]


async def read(answer: Answer) -> bytes:
    try:
        return b"".join([block async for block in answer.blocks()])
    finally:
        await answer.close()


def form(folder: Path, content: bytes, **fields: str) -> Form:
    path = folder / "sound"
    path.write_bytes(content)
    file = FormFile(field="file", filename="a.wav", content_type="audio/wav", path=path, size=len(content))
    return Form(fields=tuple(fields.items()), files=(file,))


@pytest.mark.parametrize(("offer", "name", "opened"), EVERY, ids=[f"{offer}-{name}" for offer, name, _ in EVERY])
def test_it_lists_the_model_and_says_what_it_offers(offer: Offer, name: str, opened: Callable[[], Opened]) -> None:
    async def main() -> None:
        async with opened() as (backend, model):
            assert offer in backend.offers(model)
            assert model in {listed.id for listed in await backend.models()}
            if name != "upstream":  # which alone knows what it has
                assert not backend.offers("nobody's")

    asyncio.run(main())


@of("complete")
def test_a_text_completion(opened: Callable[[], Opened]) -> None:
    async def main() -> None:
        async with opened() as (backend, model):
            answer = await backend.complete({"model": model, "prompt": "Once upon a time", "max_tokens": 8})
            assert answer.content_type == "application/json"
            said = msgspec.json.decode(await read(answer))
            assert (said["object"], said["choices"][0]["index"]) == ("text_completion", 0)
            assert said["usage"]["total_tokens"] > said["usage"]["completion_tokens"] > 0
            streamed = await backend.complete({"model": model, "prompt": "One", "max_tokens": 4, "stream": True})
            assert streamed.content_type.partition(";")[0] == "text/event-stream"
            assert (await read(streamed)).rstrip().endswith(b"data: [DONE]")

    asyncio.run(main())


@of("embed")
def test_vectors_in_the_order_of_their_texts(opened: Callable[[], Opened]) -> None:
    async def main() -> None:
        async with opened() as (backend, model):
            asked = {"model": model, "input": ["a cat", "a dog", "a cat"]}
            found = msgspec.json.decode(await backend.embed({**asked, "encoding_format": "float"}, asked_as=model))
            assert [item["index"] for item in found["data"]] == [0, 1, 2]
            one, two, three = (item["embedding"] for item in found["data"])
            assert one == pytest.approx(three, abs=1e-6)
            assert one != pytest.approx(two, abs=1e-3)
            assert found["usage"]["prompt_tokens"] > 0
            told = msgspec.json.decode(await backend.embed({**asked, "encoding_format": "base64"}, asked_as=model))
            assert list(array("f", base64.b64decode(told["data"][1]["embedding"]))) == pytest.approx(two, abs=1e-6)

    asyncio.run(main())


@of("moderate")
def test_a_judgement_of_every_category(opened: Callable[[], Opened]) -> None:
    async def main() -> None:
        async with opened() as (backend, model):
            answer = await backend.moderate({"model": model, "input": ["I will kill you.", "A nice day."]})
            bad, good = msgspec.json.decode(answer)["results"]
            for result in (bad, good):
                assert set(result["categories"]) == set(result["category_scores"]) == set(CATEGORIES)
                assert result["flagged"] == any(result["categories"].values())
            assert (bad["flagged"], good["flagged"]) == (True, False)

    asyncio.run(main())


@of("speak")
def test_sound_in_the_format_asked_for(opened: Callable[[], Opened]) -> None:
    async def main() -> None:
        async with opened() as (backend, model):
            asked = {"model": model, "voice": "alloy", "input": "Hello there.", "response_format": "wav"}
            answer = await backend.speak(asked)
            assert answer.content_type == "audio/wav"
            assert (await read(answer))[:4] == b"RIFF"
            left = await backend.speak({**asked, "input": "A long speech. " * 200})
            await left.close()
            assert (await read(await backend.speak(asked)))[:4] == b"RIFF", "who leaves harms nobody"

    asyncio.run(main())


@of("transcribe")
def test_what_was_heard_in_the_format_asked_for(opened: Callable[[], Opened], tmp_path: Path) -> None:
    async def main() -> None:
        async with opened() as (backend, model):
            asked = form(tmp_path, wav(1.0), model=model)
            answer = await backend.transcribe(asked)
            assert isinstance(msgspec.json.decode(await read(answer))["text"], str)
            subtitles = form(tmp_path, wav(1.0), model=model, response_format="vtt")
            assert (await read(await backend.transcribe(subtitles))).startswith(b"WEBVTT")
            if model == SPHINX_MODEL:  # which hears English and writes English
                with pytest.raises(BadRequest, match="translate"):
                    await backend.transcribe(asked, translate=True)
            else:
                translated = await backend.transcribe(asked, translate=True)
                assert "text" in msgspec.json.decode(await read(translated))

    asyncio.run(main())
