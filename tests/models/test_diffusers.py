"""Pipelines in their child processes: the child as it is, over a diffusers that draws quickly and can die.

The last test draws with the real one, where there is one.
"""

import asyncio
import base64
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from everloom.kit.errors import ApiError
from everloom.kit.png import Png, read_png
from everloom.models.base import Answer, Form, FormFile
from everloom.models.diffusers.backend import MOST_WAITING, DiffusersBackend, PipelineSettings
from everloom.models.memory_budget import MemoryBudget
from tests.models.image_environment import python_with_diffusers
from tests.pictures import half, noise, png
from tests.servers import Everloom
from tests.servers import http as client_of

HERE = Path(__file__).parent


def python_standing_in(folder: Path) -> str:
    """A Python whose diffusers is that of ``standing_in``."""
    script = folder / "python"
    path, python = shlex.quote(str(HERE / "standing_in")), shlex.quote(sys.executable)
    script.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {python} "$@"\n')
    script.chmod(0o755)
    return str(script)


def pipeline_in(folder: Path, name: str = "pipeline") -> Path:
    found = folder / name
    found.mkdir(exist_ok=True)
    (found / "model_index.json").write_text("{}")
    return found


def drawing_on(folder: Path, scenario: Callable[[DiffusersBackend], Awaitable[None]], **more: Any) -> None:
    """Run it with a backend of one pipeline, ``tiny``, of four steps."""

    async def main() -> None:
        pipelines = {
            "tiny": PipelineSettings(folder=pipeline_in(folder), steps=4),
            "words": PipelineSettings(folder=pipeline_in(folder, "only-words")),
        }
        python = more.get("python") or python_standing_in(folder)
        backend = DiffusersBackend(pipelines, MemoryBudget(8 << 30), python=python)
        await backend.open()
        try:
            await scenario(backend)
        finally:
            await backend.close()
            assert backend.children() == []

    asyncio.run(main())


async def images(answer: Awaitable[Answer]) -> list[dict[str, Any]]:
    """The answer's images, ``png`` in place of base64."""
    given = await answer
    data = json.loads(b"".join([block async for block in given.blocks()]))["data"]
    await given.close()
    return [{**image, "png": base64.b64decode(image.pop("b64_json"))} for image in data]


def form(folder: Path, fields: dict[str, str], **files: bytes) -> Form:
    laid = []
    for name, data in files.items():
        path = folder / f"{name}.png"
        path.write_bytes(data)
        laid.append(FormFile(field=name, filename="a.png", content_type="image/png", path=path, size=len(data)))
    return Form(fields=tuple({"model": "tiny", **fields}.items()), files=tuple(laid))


def steps(folder: Path) -> list[str]:
    """Every step that was made, as the prompt and its number."""
    return (folder / "pipeline" / "steps").read_text().splitlines()


def until(true: Callable[[], bool]) -> None:
    """Wait for it, five seconds at most."""
    end = time.monotonic() + 5
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    assert true()


def opened(image: dict[str, Any]) -> Image.Image:
    with Image.open(io.BytesIO(image["png"])) as found:
        return found.convert("RGB")


def test_pictures_from_words(tmp_path: Path) -> None:
    async def scenario(backend: DiffusersBackend) -> None:
        assert [model.id for model in await backend.models()] == ["tiny", "words"]
        assert backend.capabilities("tiny") == {"draw"}
        assert backend.children() == []
        drawn = await images(backend.generate_image({"model": "tiny", "prompt": "otter", "size": "64x128", "n": 3}))
        assert [read_png(image["png"]) for image in drawn] == [Png(64, 128, "RGB", False)] * 3
        assert "revised_prompt" not in drawn[0]
        (image,) = await images(backend.generate_image({"model": "tiny", "prompt": "otter"}))
        assert read_png(image["png"]).width == 1024
        (image,) = await images(backend.generate_image({"model": "tiny", "prompt": "x", "style": "natural"}))
        assert image["revised_prompt"] == "x, natural colors, soft light, realistic"

    drawing_on(tmp_path, scenario)


def test_quality_is_a_matter_of_steps(tmp_path: Path) -> None:
    async def scenario(backend: DiffusersBackend) -> None:
        for quality in ("standard", "hd", "low"):
            asked = {"model": "tiny", "prompt": quality, "quality": quality, "size": "64x64"}
            await images(backend.generate_image(asked))

    drawing_on(tmp_path, scenario)
    made = [step.split()[0] for step in steps(tmp_path)]
    assert [made.count(quality) for quality in ("standard", "hd", "low")] == [4, 8, 2]


def test_an_edit_changes_what_is_transparent_alone(tmp_path: Path) -> None:
    async def scenario(backend: DiffusersBackend) -> None:
        hat = {"prompt": "hat", "size": "64x64"}
        (image,) = await images(backend.edit_image(form(tmp_path, hat, image=half(64))))
        picture = opened(image)
        assert picture.getpixel((10, 30)) == (0, 0, 255)
        assert picture.getpixel((50, 30)) == (255, 0, 0)
        (image,) = await images(backend.edit_image(form(tmp_path, hat, image=png(64, colour=2), mask=half(64))))
        picture = opened(image)
        assert picture.getpixel((10, 30)) == (0, 0, 255)
        assert picture.getpixel((50, 30)) == (0, 0, 0)
        opaque = form(tmp_path, hat, image=png(8, data=(b"\0" + b"\xff" * 32) * 8))
        with pytest.raises(ApiError, match="Nothing is to be edited"):
            await backend.edit_image(opaque)

    drawing_on(tmp_path, scenario)


def test_a_variation_is_drawn_over_the_picture(tmp_path: Path) -> None:
    async def scenario(backend: DiffusersBackend) -> None:
        asked = form(tmp_path, {"n": "2", "size": "128x128"}, image=half(64))
        assert [opened(image).size for image in await images(backend.vary_image(asked))] == [(128, 128)] * 2
        with pytest.raises(ApiError, match="does not make variations") as refused:
            await backend.vary_image(form(tmp_path, {"model": "words"}, image=half(64)))
        assert refused.value.status == 400

    drawing_on(tmp_path, scenario)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"background": "transparent"}, "background"),
        ({"moderation": "low"}, "moderation"),
        ({"output_format": "webp"}, "output_format"),
        ({"output_compression": 50}, "output_compression"),
        ({"stream": True}, "stream"),
        ({"partial_images": 2}, "partial_images"),
        ({"size": "4096x64"}, "size"),
        ({"size": "100x64"}, "size"),
    ],
)
def test_what_a_pipeline_does_not_do_is_refused(more: dict[str, Any], param: str, tmp_path: Path) -> None:
    async def scenario(backend: DiffusersBackend) -> None:
        with pytest.raises(ApiError) as refused:
            await backend.generate_image({"model": "tiny", "prompt": "x", **more})
        assert (refused.value.status, refused.value.param) == (400, param)

    drawing_on(tmp_path, scenario)


def test_what_asks_for_the_usual_is_taken(tmp_path: Path) -> None:
    async def scenario(backend: DiffusersBackend) -> None:
        usual = {"background": "auto", "moderation": "auto", "output_format": "png", "stream": False, "user": "u"}
        (image,) = await images(backend.generate_image({"model": "tiny", "prompt": "x", "size": "auto", **usual}))
        assert read_png(image["png"]).width == 1024

    drawing_on(tmp_path, scenario)


def test_pictures_that_are_none_do_not_reach_the_child(tmp_path: Path) -> None:
    async def scenario(backend: DiffusersBackend) -> None:
        for files in ({"image": b"\xff\xd8\xff a photograph"}, {"image": noise(64)[:-9]}):
            with pytest.raises(ApiError, match="PNG"):
                await backend.vary_image(form(tmp_path, {}, **files))
        several = Form(fields=(("model", "tiny"),), files=form(tmp_path, {}, image=half()).files * 2)
        with pytest.raises(ApiError, match="one image"):
            await backend.edit_image(several)
        assert backend.children() == []

    drawing_on(tmp_path, scenario)


def test_a_picture_is_called_as_the_request_called_it(tmp_path: Path) -> None:
    async def scenario(backend: DiffusersBackend) -> None:
        (file,) = form(tmp_path, {}, image=b"\xff\xd8\xff a photograph").files
        referred = tuple(
            msgspec.structs.replace(file, field="image[]", param=f"images[{place}].file_id") for place in range(2)
        )
        for files, param in ((referred[:1], "images[0].file_id"), (referred, "images[1].file_id")):
            with pytest.raises(ApiError) as refused:
                await backend.edit_image(Form(fields=(("model", "tiny"),), files=files))
            assert (refused.value.status, refused.value.param) == (400, param)

    drawing_on(tmp_path, scenario)


def test_a_picture_that_cannot_be_drawn_over_is_the_callers_fault(tmp_path: Path) -> None:
    """Its header is right and its data has the right size, and no filter has the number 9."""

    async def scenario(backend: DiffusersBackend) -> None:
        with pytest.raises(ApiError, match="cannot be read") as refused:
            await backend.vary_image(form(tmp_path, {}, image=png(8, data=(b"\x09" + bytes(32)) * 8)))
        assert (refused.value.status, refused.value.code) == (400, "invalid_image_format")

    drawing_on(tmp_path, scenario)


def test_what_the_safety_checker_hides_is_refused(tmp_path: Path) -> None:
    async def scenario(backend: DiffusersBackend) -> None:
        with pytest.raises(ApiError) as refused:
            await backend.generate_image({"model": "tiny", "prompt": "unsafe", "size": "64x64"})
        assert (refused.value.status, refused.value.code) == (400, "content_policy_violation")

    drawing_on(tmp_path, scenario)


def test_one_at_a_time_and_who_leaves_is_not_drawn_for(tmp_path: Path) -> None:
    async def scenario(backend: DiffusersBackend) -> None:
        def ask(prompt: str, n: int = 1) -> "asyncio.Task[list[dict[str, Any]]]":
            return asyncio.create_task(
                images(backend.generate_image({"model": "tiny", "prompt": prompt, "size": "64x64", "n": n}))
            )

        long, waiting, left, last = ask("long", 10), ask("waiting"), ask("left"), ask("last")
        await asyncio.to_thread(until, (tmp_path / "pipeline" / "steps").exists)
        (pid,) = backend.children()
        left.cancel()
        long.cancel()
        await asyncio.gather(waiting, last)
        assert backend.children() == [pid]

    drawing_on(tmp_path, scenario)
    made = [step.split()[0] for step in steps(tmp_path)]
    assert made == sorted(made, key=["long", "waiting", "last"].index), "two were drawn at a time"
    assert 1 <= made.count("long") < 12
    assert "left" not in made
    assert (made.count("waiting"), made.count("last")) == (4, 4)


def test_a_queue_has_an_end(tmp_path: Path) -> None:
    async def scenario(backend: DiffusersBackend) -> None:
        asked = {"model": "tiny", "prompt": "x", "size": "64x64", "n": 10}
        tasks = [asyncio.create_task(images(backend.generate_image(asked))) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError) as refused:
            await backend.generate_image(asked)
        assert (refused.value.status, refused.value.code) == (503, "overloaded")
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert await images(backend.generate_image({**asked, "n": 1}))

    drawing_on(tmp_path, scenario)


def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    async def scenario(backend: DiffusersBackend) -> None:
        asked = {"model": "tiny", "prompt": "otter", "size": "64x64"}
        with pytest.raises(ApiError, match="ended in the middle"):
            await backend.generate_image({**asked, "prompt": "death"})
        assert await images(backend.generate_image(asked))
        (pid,) = backend.children()
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: backend.children() == [])
        assert await images(backend.generate_image(asked))

    drawing_on(tmp_path, scenario)


@pytest.mark.skipif("__import__('importlib.util').util.find_spec('diffusers') is not None", reason="diffusers is here")
def test_without_diffusers_it_is_said_how_to_install_it(tmp_path: Path) -> None:
    async def scenario(backend: DiffusersBackend) -> None:
        with pytest.raises(ApiError) as failed:
            await backend.generate_image({"model": "tiny", "prompt": "x"})
        assert failed.value.status == 503
        assert "pip install 'everloom[images]'" in failed.value.message

    drawing_on(tmp_path, scenario, python=sys.executable)


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    async def nowhere(backend: DiffusersBackend) -> None:
        with pytest.raises(ApiError, match="No such file") as failed:
            await backend.generate_image({"model": "tiny", "prompt": "x"})
        assert failed.value.status == 503

    async def empty(backend: DiffusersBackend) -> None:
        (tmp_path / "pipeline" / "model_index.json").write_text("")
        with pytest.raises(ApiError, match="Error no file named") as failed:
            await backend.generate_image({"model": "tiny", "prompt": "x"})
        assert failed.value.status == 503

    drawing_on(tmp_path, nowhere, python=str(tmp_path / "no python"))
    drawing_on(tmp_path, empty)


def settings_file(folder: Path, pipeline: Path) -> Path:
    file = folder / "everloom.toml"
    file.write_text(
        f'[aliases]\n"dall-e-*" = "tiny"\n\n'
        f'[[models]]\nid = "tiny"\nbackend = "local"\npath = {json.dumps(str(pipeline))}\nsteps = 2\n'
    )
    return file


def test_a_server_draws_with_a_folder_that_its_settings_name(tmp_path: Path) -> None:
    file = settings_file(tmp_path, pipeline_in(tmp_path))
    settings = {"images_python": python_standing_in(tmp_path)}
    with (
        Everloom(tmp_path, arguments=("--config", str(file)), **settings) as server,
        client_of(server) as http,
    ):
        walk(http, 256)
        refused = http.post("/chat/completions", json={"model": "tiny", "messages": [{"role": "user", "content": "?"}]})
        assert refused.status_code == 400
        assert "does not chat" in refused.json()["error"]["message"]
        with pytest.raises(Exception, match="timed out"):
            http.post("/images/generations", json={"prompt": "left", "n": 10, "size": "256x256"}, timeout=0.1)
        before = -1
        while before != len(steps(tmp_path)):
            before = len(steps(tmp_path))
            time.sleep(0.2)
        assert len([step for step in steps(tmp_path) if step.startswith("left")]) < 20


def walk(http: Any, side: int) -> None:
    """The three operations under the names that programs know."""
    size = f"{side}x{side}"
    answer = http.post("/images/generations", json={"prompt": "An otter", "n": 2, "size": size})
    assert answer.status_code == 200, answer.text
    for image in answer.json()["data"]:
        found = http.get(image["url"])
        assert found.headers["content-type"] == "image/png"
        assert read_png(found.content).width == side
    sent = {"image": half(side)}
    edited = http.post(
        "/images/edits", files=sent, data={"prompt": "A hat", "size": size, "response_format": "b64_json"}
    )
    assert edited.status_code == 200, edited.text
    picture = opened({"png": base64.b64decode(edited.json()["data"][0]["b64_json"])})
    assert picture.getpixel((side - 5, 5)) == (255, 0, 0)
    varied = http.post("/images/variations", files=sent, data={"size": size, "n": "1"})
    assert varied.status_code == 200, varied.text
    assert read_png(http.get(varied.json()["data"][0]["url"]).content).width == side


def test_a_real_pipeline_of_random_weights(tmp_path: Path) -> None:
    python = python_with_diffusers()
    made = subprocess.run(
        [python, str(HERE / "tiny_pipeline.py"), str(tmp_path / "tiny")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    )
    assert made.returncode == 0, made.stderr[-4000:]
    file = settings_file(tmp_path, tmp_path / "tiny")
    with (
        Everloom(tmp_path, arguments=("--config", str(file)), images_python=python) as server,
        client_of(server) as http,
    ):
        http.timeout = 120
        walk(http, 256)
        long = {"prompt": "an otter " * 100, "size": "256x256", "model": "dall-e-2"}
        (image,) = http.post("/images/generations", json=long).json()["data"]
        assert image["revised_prompt"].startswith("an otter an otter")
        assert len(image["revised_prompt"]) < 200
