"""What every backend promises beside chat, whoever answers behind it: the other ports of ``models/base.py``."""

import base64
from array import array
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from everloom.kit.errors import BadRequest
from everloom.kit.png import read_png
from everloom.models.base import Answer, Capability, Form, FormFile
from everloom.models.transcription.sphinx import SPHINX_MODEL
from tests.contracts.adapters import ADAPTERS, EVERY, Opened, of
from tests.offers import CATEGORIES, wav
from tests.pictures import half


async def read(answer: Answer) -> bytes:
    try:
        return b"".join([block async for block in answer.blocks()])
    finally:
        await answer.close()


def form(folder: Path, name: str, content: bytes, **fields: str) -> Form:
    path = folder / name
    path.write_bytes(content)
    kind = "image/png" if name == "image" else "audio/wav"
    file = FormFile(field=name, filename=f"a.{kind[-3:]}", content_type=kind, path=path, size=len(content))
    return Form(fields=tuple(fields.items()), files=(file,))


def test_every_port_has_adapters_here() -> None:
    assert set(ADAPTERS) == set(get_args(Capability))
    assert all(len(adapters) > 1 for adapters in ADAPTERS.values())


@pytest.mark.parametrize("opened", EVERY, ids="-".join, indirect=True)
def test_it_lists_the_model_and_says_what_it_offers(opened: Opened, request: pytest.FixtureRequest) -> None:
    offer, name = request.node.callspec.params["opened"]

    async def main() -> None:
        backend, model, _ = opened
        assert offer in backend.capabilities(model)
        assert model in {listed.id for listed in await backend.models()}
        if name not in ("upstream", "guard"):  # which alone know what they have
            assert not backend.capabilities("nobody's")
        if offer in ("speak", "transcribe", "draw"):
            assert backend.max_concurrency is None or backend.max_concurrency >= 1

    opened.run(main())


@of("complete")
def test_a_text_completion(opened: Opened) -> None:
    async def main() -> None:
        backend, model, _ = opened
        answer = await backend.complete({"model": model, "prompt": "Once upon a time", "max_tokens": 8})
        assert answer.content_type == "application/json"
        said = msgspec.json.decode(await read(answer))
        assert (said["object"], said["choices"][0]["index"]) == ("text_completion", 0)
        assert said["usage"]["total_tokens"] > said["usage"]["completion_tokens"] > 0
        streamed = await backend.complete({"model": model, "prompt": "One", "max_tokens": 4, "stream": True})
        assert streamed.content_type.partition(";")[0] == "text/event-stream"
        assert (await read(streamed)).rstrip().endswith(b"data: [DONE]")

    opened.run(main())


@of("embed")
def test_vectors_in_the_order_of_their_texts(opened: Opened) -> None:
    async def main() -> None:
        backend, model, _ = opened
        asked = {"model": model, "input": ["a cat", "a dog", "a cat"]}
        found = msgspec.json.decode(await backend.embed({**asked, "encoding_format": "float"}, asked_as=model))
        assert [item["index"] for item in found["data"]] == [0, 1, 2]
        one, two, three = (item["embedding"] for item in found["data"])
        assert one == pytest.approx(three, abs=1e-6)
        assert one != pytest.approx(two, abs=1e-3)
        assert found["usage"]["prompt_tokens"] > 0
        told = msgspec.json.decode(await backend.embed({**asked, "encoding_format": "base64"}, asked_as=model))
        assert list(array("f", base64.b64decode(told["data"][1]["embedding"]))) == pytest.approx(two, abs=1e-6)

    opened.run(main())


@of("moderate")
def test_a_judgement_of_every_category(opened: Opened) -> None:
    async def main() -> None:
        backend, model, _ = opened
        answer = await backend.moderate({"model": model, "input": ["I will kill you.", "A nice day."]})
        bad, good = msgspec.json.decode(answer)["results"]
        for result in (bad, good):
            assert set(result["categories"]) == set(result["category_scores"]) == set(CATEGORIES)
            assert result["flagged"] == any(result["categories"].values())
        assert (bad["flagged"], good["flagged"]) == (True, False)

    opened.run(main())


@of("speak")
def test_sound_in_the_format_asked_for(opened: Opened) -> None:
    async def main() -> None:
        backend, model, _ = opened
        asked = {"model": model, "voice": "alloy", "input": "Hello there.", "response_format": "wav"}
        answer = await backend.speak(asked)
        assert answer.content_type == "audio/wav"
        assert (await read(answer))[:4] == b"RIFF"
        left = await backend.speak({**asked, "input": "A long speech. " * 200})
        await left.close()
        assert (await read(await backend.speak(asked)))[:4] == b"RIFF", "who leaves harms nobody"

    opened.run(main())


@of("transcribe")
def test_what_was_heard_in_the_format_asked_for(opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        backend, model, _ = opened
        asked = form(tmp_path, "file", wav(1.0), model=model)
        answer = await backend.transcribe(asked)
        assert isinstance(msgspec.json.decode(await read(answer))["text"], str)
        subtitles = form(tmp_path, "file", wav(1.0), model=model, response_format="vtt")
        assert (await read(await backend.transcribe(subtitles))).startswith(b"WEBVTT")
        if model == SPHINX_MODEL:  # which hears English and writes English
            with pytest.raises(BadRequest, match="translate"):
                await backend.transcribe(asked, translate=True)
        else:
            translated = await backend.transcribe(asked, translate=True)
            assert "text" in msgspec.json.decode(await read(translated))

    opened.run(main())


async def drawn(answer: Answer) -> list[dict[str, Any]]:
    assert answer.content_type.partition(";")[0] == "application/json"
    said = msgspec.json.decode(await read(answer))
    assert isinstance(said["created"], int)
    return said["data"]  # type: ignore[no-any-return]  # decoded JSON


@of("draw")
def test_pictures_as_bytes(opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        backend, model, _ = opened
        asked = {"model": model, "prompt": "An otter", "size": "64x64", "response_format": "b64_json"}
        pictures = await drawn(await backend.generate_image({**asked, "n": 2}))
        assert len(pictures) == 2
        for picture in pictures:
            found = read_png(base64.b64decode(picture["b64_json"]))
            assert found.width == found.height
        [edited] = await drawn(await backend.edit_image(form(tmp_path, "image", half(64), **asked)))
        assert read_png(base64.b64decode(edited["b64_json"]))
        del asked["prompt"]
        varied = await drawn(await backend.vary_image(form(tmp_path, "image", half(64), **asked, n="2")))
        assert [read_png(base64.b64decode(picture["b64_json"])).height > 0 for picture in varied] == [True, True]

    opened.run(main())


@pytest.mark.parametrize("opened", EVERY, ids="-".join, indirect=True)
def test_it_opens_again(opened: Opened, request: pytest.FixtureRequest) -> None:
    offer, _ = request.node.callspec.params["opened"]

    async def main() -> None:
        backend, model, _ = opened
        await backend.close()
        await backend.open()
        assert offer in backend.capabilities(model)
        assert model in {listed.id for listed in await backend.models()}

    opened.run(main())
