"""Pictures from diffusers pipelines on this machine, each a folder that somebody named: ``docs/images.md``.

Nothing heavy is imported here: torch lives in the child processes, and may live in an environment of their own.
"""

import asyncio
import base64
import re
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from everloom.kit.clock import now
from everloom.kit.errors import BadRequest, ModelFailure
from everloom.kit.png import BadPng, read_png
from everloom.models.base import Capability, Form, FormFile
from everloom.models.diffusers.process import DrawingJob, DrawnImages, PipelineProcess
from everloom.models.local import LocalModels
from everloom.models.memory_budget import MemoryBudget
from everloom.objects.base import JsonObject, encode

MAX_SIDE = 2048
"""Pixels of a picture's longest side: what a pipeline needs grows with its square, and faster."""

MOST_WAITING = 32
"""Requests that wait for their turn; behind them one is told to come again."""

_USUAL_SIZE = "1024x1024"
_DRAWS: frozenset[Capability] = frozenset({"draw"})
_SIZE = re.compile(r"([1-9][0-9]{1,3})x([1-9][0-9]{1,3})")
_TORCH_BYTES = 700 * 1024 * 1024
"""What torch and diffusers take beside the weights, and a picture while it is drawn."""

EFFORTS = {"low": 0.5, "hd": 2.0, "high": 2.0}
"""How many times the usual steps a quality takes."""

STYLES = {
    "vivid": "vivid colors, dramatic light, hyper-real",
    "natural": "natural colors, soft light, realistic",
}
"""What is added to a prompt for a style; the answer's ``revised_prompt`` shows it."""

_PASSED_OVER = {
    "background": ("auto", "opaque"),
    "moderation": ("auto",),
    "output_format": ("png",),
    "output_compression": (100,),
    "partial_images": (0,),
    "input_fidelity": ("low",),
    "stream": (False,),
}
"""Parameters of later models, and the values of them that ask for what is done anyway."""


class PipelineSettings(Struct, frozen=True, kw_only=True):
    """A folder, and how its pipeline is to be asked; None: as it would by itself."""

    folder: Path
    steps: int | None = None
    guidance: float | None = None


class DiffusersBackend(LocalModels):
    """Pipelines by name. One picture is drawn at a time, whatever pipeline draws it; the others wait in order.

    ``budget``: the memory they have together with the other models on this machine. ``python``: an interpreter in whose
    environment the extra ``images`` is installed.
    """

    max_concurrency: int | None = 1

    def __init__(
        self, pipelines: Mapping[str, PipelineSettings], budget: MemoryBudget, *, python: str = sys.executable
    ) -> None:
        self._pipelines = {name: _Pipeline(name, settings, python) for name, settings in pipelines.items()}
        self._budget = budget
        self._turn = asyncio.Lock()
        self._waiting = 0
        super().__init__(pipelines, _DRAWS, [pipeline.process for pipeline in self._pipelines.values()])

    async def generate_image(self, body: JsonObject) -> "Pictures":
        """createImage."""
        return await self._draw(body, DrawingJob(kind="generate", n=1))

    async def edit_image(self, form: Form) -> "Pictures":
        """createImageEdit: what is transparent is filled in, the rest stays as it was."""
        image, mask = await _only_picture(form), form.file("mask")
        job = DrawingJob(kind="edit", n=1, image=str(image.path), mask=str(mask.path) if mask else "")
        return await self._draw(_fields(form), job)

    async def vary_image(self, form: Form) -> "Pictures":
        """createImageVariation: drawn anew over a noisy copy of it."""
        image = await _only_picture(form)
        return await self._draw(_fields(form), DrawingJob(kind="vary", n=1, image=str(image.path)))

    async def _draw(self, asked: JsonObject, job: DrawingJob) -> "Pictures":
        model = asked["model"]
        _read(asked, job)
        if self._waiting >= MOST_WAITING:
            text = f"The model `{model}` is overloaded with other requests. You can retry your request."
            raise ModelFailure(text, status=503, code="overloaded")
        self._waiting += 1
        try:
            async with self._turn, self._budget.use(self._pipelines[model]):
                drawn = await self._pipelines[model].process.draw(job)
        finally:
            self._waiting -= 1
        revised = drawn.prompt or (job.prompt if job.prompt != asked.get("prompt", "") else None)
        return Pictures(await asyncio.to_thread(_answer, drawn, revised), model)


class Pictures:
    """An answer that is all there."""

    content_type = "application/json"

    def __init__(self, data: bytes, model: str) -> None:
        self.model = model
        self._data = data

    async def blocks(self) -> AsyncIterator[bytes]:
        """All of it."""
        yield self._data

    async def close(self) -> None:
        """Nothing is under way."""


class _Pipeline:
    """One folder, as it takes part in the memory budget."""

    def __init__(self, name: str, settings: PipelineSettings, python: str) -> None:
        self.name = name
        self._folder = settings.folder
        guidance = -1.0 if settings.guidance is None else settings.guidance
        self.process = PipelineProcess(
            f"The model `{name}`", settings.folder, python=python, steps=settings.steps or 0, guidance=guidance
        )

    @property
    def pid(self) -> int | None:
        return self.process.pid

    async def estimate(self) -> int:
        """Weights are read as they lie, and where they lie as halves and as wholes, once."""
        return _TORCH_BYTES + await asyncio.to_thread(_weights, self._folder)

    async def unload(self) -> None:
        await self.process.close()


def _weights(folder: Path) -> int:
    files = list(folder.rglob("*.safetensors"))
    whole = [file for file in files if not file.name.endswith(".fp16.safetensors")]
    try:
        return sum(file.stat().st_size for file in whole or files)
    except OSError as error:
        raise ModelFailure(f"The pipeline in {folder} cannot be read: {error}", status=503) from error


# --- what is asked -------------------------------------------------------------------------------------------------


def _fields(form: Form) -> JsonObject:
    """A form's fields as the JSON they stand for."""
    given: dict[str, Any] = dict(form.fields)
    for name in ("n", "output_compression", "partial_images"):
        if name in given:
            given[name] = int(given[name])
    if "stream" in given:
        given["stream"] = given["stream"] in ("true", "True", "1")
    return given


async def _only_picture(form: Form) -> FormFile:
    pictures = [file for file in form.files if file.field.removesuffix("[]") == "image"]
    if len(pictures) != 1:
        text = "This model edits one image. You can provide several to other models."
        raise BadRequest(text, param=pictures[-1].param or "image", code="unsupported_parameter")
    try:
        await asyncio.to_thread(lambda: read_png(pictures[0].path.read_bytes()))
    except BadPng as error:
        text = f"This model edits PNG images, of 4096x4096 pixels at most: in this one something is wrong ({error})."
        raise BadRequest(text, param=pictures[0].param or "image", code="invalid_image_format") from error
    return pictures[0]


def _read(asked: JsonObject, job: DrawingJob) -> None:
    """Take over what was asked into the job. Errors: 400 for what no pipeline does."""
    for name, usual in _PASSED_OVER.items():
        if asked.get(name) is not None and asked[name] not in usual:
            text = f"Unsupported parameter: '{name}' is not supported with this model."
            raise BadRequest(text, param=name, code="unsupported_parameter")
    job.n = asked.get("n") or 1
    job.prompt = asked.get("prompt") or ""
    if (style := asked.get("style")) is not None:
        job.prompt = f"{job.prompt}, {STYLES[style]}"
    job.effort = EFFORTS.get(asked.get("quality") or "", 1.0)
    job.width, job.height = _size(asked.get("size") or _USUAL_SIZE)


def _size(text: str) -> tuple[int, int]:
    if text == "auto":
        return 0, 0
    found = _SIZE.fullmatch(text)
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 0 < width <= MAX_SIDE or not 0 < height <= MAX_SIDE:
        reason = f"The size is not supported by this model. (No side may be longer than {MAX_SIDE} pixels.)"
        raise BadRequest(reason, param="size", code="invalid_size")
    return width, height


def _answer(drawn: DrawnImages, revised: str | None) -> bytes:
    more = {} if revised is None else {"revised_prompt": revised}
    images = [{"b64_json": base64.b64encode(image).decode(), **more} for image in drawn.images]
    return encode({"created": now(), "data": images})
