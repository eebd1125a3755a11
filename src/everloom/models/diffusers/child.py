"""The child process that draws with one diffusers pipeline.

``python -P child.py FOLDER STEPS GUIDANCE`` (0 and -1: as the pipeline itself would) stands alone, for it may run in
another environment than the server: torch takes gigabytes. It reads a frame of JSON for each job from standard input
and writes frames to standard output (``subprocesses/framing.py``): ``{"ready": true}`` or ``{"error": text}``, then for
each job some pictures, each a byte ``i`` and a PNG, and ``{"done": true}`` (with ``prompt`` where not all of it was
read), ``{"refused": …}``, ``{"stopped": true}`` or ``{"failed": text}``. ``{"stop": number}`` ends the jobs up to that
number, the one in hand at its next step. It ends with its input.
"""

import inspect
import io
import json
import os
import queue
import runpy
import sys
from pathlib import Path
from typing import Any

VARIES_BY = 0.7
"""How much noise a variation begins with: at 0 it is the picture itself, at 1 nothing of it is left."""

_FINEST = 8
"""Pixels that no pipeline divides: smaller latents than an eighth of the picture are unknown."""


class DrawingStopped(Exception):
    """Nobody waits for the job in hand any more."""


class DrawingRefused(Exception):
    """A job that cannot be done; ``fields`` go into the platform's error."""

    def __init__(self, message: str, param: str | None, code: str) -> None:
        super().__init__(message)
        self.fields = {"message": message, "param": param, "code": code}


class Stops:
    """Up to which job nobody waits any more; written by the thread that listens."""

    def __init__(self) -> None:
        self.up_to = 0


def main() -> None:
    """Serve until the parent lets go."""
    # By its path, since the package may not be there, nor what else is there with it be fit for this interpreter.
    framing = runpy.run_path(str(Path(__file__).parents[1] / "subprocesses" / "framing.py"))
    parent = framing["ParentPipe"]()
    os.environ |= {
        "OMP_WAIT_POLICY": "passive",  # spinning threads made a step fifty times as long on a busy machine
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    stops = Stops()
    parent.listen(lambda frame: _hear(json.loads(frame), jobs, stops))
    folder, steps, guidance = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    try:
        painter = Painter(_load(folder), steps, guidance, stops)
    except ImportError as error:
        _say(parent, {"error": f"diffusers is not installed beside it (pip install 'everloom[images]'): {error}"})
        os._exit(1)
    except Exception as error:
        _say(parent, {"error": f"{error or repr(error)}"[:4000]})
        os._exit(1)
    _say(parent, {"ready": True})
    while True:
        _do(painter, jobs.get(), parent)


def _hear(order: dict[str, Any], jobs: "queue.SimpleQueue[dict[str, Any]]", stops: Stops) -> None:
    if "stop" in order:
        stops.up_to = order["stop"]
    else:
        jobs.put(order)


def _say(parent: Any, said: dict[str, Any]) -> None:
    parent.say(json.dumps(said).encode())


def _do(painter: "Painter", job: dict[str, Any], parent: Any) -> None:
    try:
        for _ in range(job["n"]):
            parent.say(b"i" + painter.paint(job))
        said: dict[str, Any] = {"done": True, "prompt": painter.what_was_read(job["prompt"])}
    except DrawingStopped:
        said = {"stopped": True}
    except DrawingRefused as refusal:
        said = {"refused": refusal.fields}
    except Exception as error:
        said = {"failed": repr(error)[:500]}
    _say(parent, said)


def _load(folder: Path) -> Any:
    """The pipeline, where it computes fastest. Weights are read from safetensors alone: pickles may run anything."""
    import diffusers  # type: ignore[import-not-found]  # lives where the extra is installed
    import torch  # as above

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    cuda, metal = torch.cuda.is_available(), torch.backends.mps.is_available()
    device, dtype = ("cuda", torch.bfloat16) if cuda else ("mps", torch.float16) if metal else ("cpu", torch.float32)
    if cuda and not (folder / "transformer").is_dir():
        dtype = torch.float16
    halves = list(folder.rglob("*.fp16.safetensors"))
    whole = set(folder.rglob("*.safetensors")) - set(halves)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        str(folder),
        torch_dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        variant="fp16" if halves and (dtype is not torch.float32 or not whole) else None,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


class Painter:
    """The pipeline, and those that are made of the same parts for pictures and for parts of them."""

    def __init__(self, pipeline: Any, steps: int, guidance: float, stops: Stops) -> None:
        self._stops = stops
        self._pipeline = pipeline
        self._steps = steps
        self._guidance = guidance
        self._others: dict[str, Any] = {}

    def paint(self, job: dict[str, Any]) -> bytes:
        """One picture, as PNG. Errors: ``DrawingStopped``, ``DrawingRefused``."""
        self._look(job)
        pipeline = self._for(job["kind"])
        width, height = self._size(job)
        given: dict[str, Any] = {"prompt": job["prompt"], "width": width, "height": height}
        if job["kind"] != "generate":
            given |= _pictures(job, width, height)
        if job["kind"] == "vary":
            given["strength"] = VARIES_BY
        if self._guidance >= 0:
            given["guidance_scale"] = self._guidance
        taken = inspect.signature(type(pipeline).__call__).parameters
        given = {name: value for name, value in given.items() if name in taken}
        given["num_inference_steps"] = self._count(taken, job)
        result = pipeline(**given, **self._stoppable(taken, job))
        if any(getattr(result, "nsfw_content_detected", None) or ()):
            text = "Your request was rejected: the safety checker of this pipeline does not show what was drawn."
            raise DrawingRefused(text, None, "content_policy_violation")
        return _png(result.images[0], given)

    def what_was_read(self, prompt: str) -> str | None:
        """The prompt as far as its text encoders read it, where that is not all of it."""
        found = [getattr(self._pipeline, f"tokenizer{number}", None) for number in ("", "_2", "_3", "_4")]
        tokenizers = [tokenizer for tokenizer in found if tokenizer is not None]
        if not tokenizers:
            return None
        longest = max(tokenizers, key=lambda tokenizer: min(tokenizer.model_max_length, 512))
        limit = min(longest.model_max_length, 512)
        ids = longest(prompt, truncation=False, verbose=False).input_ids
        if len(ids) <= limit:
            return None
        read: str = longest.decode(ids[: limit - 1], skip_special_tokens=True)
        return read

    def _for(self, kind: str) -> Any:
        if kind == "generate":
            return self._pipeline
        if kind not in self._others:
            import diffusers

            auto = {"edit": diffusers.AutoPipelineForInpainting, "vary": diffusers.AutoPipelineForImage2Image}
            try:
                self._others[kind] = auto[kind].from_pipe(self._pipeline)
            except (ValueError, AttributeError, TypeError) as error:
                what = "edit images" if kind == "edit" else "make variations"
                text = f"This model does not {what}: its pipeline ({type(self._pipeline).__name__}) has no form for it."
                raise DrawingRefused(text, "model", "invalid_model") from error
            self._others[kind].set_progress_bar_config(disable=True)
        return self._others[kind]

    def _size(self, job: dict[str, Any]) -> tuple[int, int]:
        scale = int(getattr(self._pipeline, "vae_scale_factor", 8))
        if not job["width"]:
            core = getattr(self._pipeline, "unet", None) or getattr(self._pipeline, "transformer", None)
            side = getattr(getattr(core, "config", None), "sample_size", None)
            native = side * scale if isinstance(side, int) else 1024
            return native, native
        step = max(_FINEST, scale * 2 if hasattr(self._pipeline, "transformer") else scale)
        if job["width"] % step or job["height"] % step:
            text = f"The size is not supported by this model. (Width and height must be multiples of {step}.)"
            raise DrawingRefused(text, "size", "invalid_size")
        return job["width"], job["height"]

    def _count(self, taken: Any, job: dict[str, Any]) -> int:
        """Steps: a variation leaves some of them out, and one has to be left."""
        usual = self._steps or taken["num_inference_steps"].default
        least = 2 if job["kind"] == "vary" else 1
        return max(least, int(usual * job["effort"]))

    def _look(self, job: dict[str, Any]) -> None:
        if job["number"] <= self._stops.up_to:
            raise DrawingStopped

    def _stoppable(self, taken: Any, job: dict[str, Any]) -> dict[str, Any]:
        def at_step(pipeline: Any, step: int, timestep: Any, given: dict[str, Any]) -> dict[str, Any]:
            self._look(job)
            return given

        if "callback_on_step_end" in taken:
            return {"callback_on_step_end": at_step}
        return {"callback": lambda *_: self._look(job), "callback_steps": 1} if "callback" in taken else {}


def _pictures(job: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    """The picture in its size, and for an edit the mask: white where the picture, or the mask given, is transparent."""
    from PIL import Image

    picture = _opened(job["image"], "image")
    found = {"image": picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)}
    if job["kind"] == "edit":
        if job["mask"]:
            picture = _opened(job["mask"], "mask")
        mask = picture.getchannel("A").point(lambda alpha: 255 if alpha == 0 else 0)
        if mask.getextrema()[1] == 0:
            text = "Nothing is to be edited: no part of the mask (or, without one, of the image) is transparent."
            raise DrawingRefused(text, "mask" if job["mask"] else "image", "invalid_mask_image_format")
        found["mask_image"] = mask.resize((width, height), Image.Resampling.NEAREST)
    return found


def _opened(path: str, param: str) -> Any:
    from PIL import Image

    try:
        with Image.open(path) as opened:
            return opened.convert("RGBA")
    except (OSError, SyntaxError, ValueError) as error:  # which is all that Pillow says of files that are none
        text = f"This model edits PNG images: this one cannot be read ({error})."
        raise DrawingRefused(text, param, "invalid_image_format") from error


def _png(picture: Any, given: dict[str, Any]) -> bytes:
    """The picture's file. Of an edited one, what was not to be edited is as it was: decoding changes it all a bit."""
    from PIL import Image

    if "mask_image" in given:
        mask = given["mask_image"].resize(picture.size, Image.Resampling.NEAREST)
        picture = Image.composite(picture, given["image"].resize(picture.size, Image.Resampling.LANCZOS), mask)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
