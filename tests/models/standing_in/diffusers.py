"""As much of diffusers as is asked: pipelines that draw one colour, a step every hundredth of a second.

Each step is a line in the folder's ``steps``; a prompt may ask for a death, or for something unsafe.
"""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

utils = SimpleNamespace(
    logging=SimpleNamespace(set_verbosity_error=lambda: None, disable_progress_bar=lambda: None),
)


class DiffusionPipeline:
    vae_scale_factor = 8

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def from_pretrained(cls, folder: str, **given: Any) -> "DiffusionPipeline":
        assert given["use_safetensors"]
        assert given["local_files_only"]
        assert given["torch_dtype"] == "float32"
        if not (Path(folder) / "model_index.json").read_text():
            raise OSError("Error no file named model_index.json that anybody could read")
        return cls(Path(folder))

    def to(self, device: str) -> "DiffusionPipeline":
        assert device == "cpu"
        return self

    def set_progress_bar_config(self, **_: Any) -> None:
        pass

    def __call__(
        self,
        prompt: str,
        width: int = 512,
        height: int = 512,
        num_inference_steps: int = 20,
        guidance_scale: float = 7.5,
        callback_on_step_end: Any = None,
    ) -> Any:
        return self.drawn(Image.new("RGB", (width, height), "blue"), prompt, num_inference_steps, callback_on_step_end)

    def drawn(self, picture: Image.Image, prompt: str, steps: int, callback: Any) -> Any:
        if "death" in prompt:
            os._exit(3)
        for step in range(steps):
            time.sleep(0.01)
            with (self.folder / "steps").open("a") as file:
                file.write(f"{prompt} {step}\n")
            callback(self, step, 0, {})
        return SimpleNamespace(images=[picture], nsfw_content_detected=["unsafe" in prompt])


class InpaintPipeline(DiffusionPipeline):
    def __call__(
        self,
        prompt: str,
        image: Image.Image,
        mask_image: Image.Image,
        width: int,
        height: int,
        num_inference_steps: int = 20,
        callback_on_step_end: Any = None,
    ) -> Any:
        assert image.size == mask_image.size == (width, height)
        return self.drawn(Image.new("RGB", (width, height), "blue"), prompt, num_inference_steps, callback_on_step_end)


class Image2ImagePipeline(DiffusionPipeline):
    def __call__(
        self,
        prompt: str,
        image: Image.Image,
        strength: float,
        num_inference_steps: int = 20,
        callback_on_step_end: Any = None,
    ) -> Any:
        assert prompt == ""
        return self.drawn(image.copy(), prompt, int(num_inference_steps * strength), callback_on_step_end)


class AutoPipelineForInpainting:
    @staticmethod
    def from_pipe(pipeline: DiffusionPipeline) -> InpaintPipeline:
        return InpaintPipeline(pipeline.folder)


class AutoPipelineForImage2Image:
    @staticmethod
    def from_pipe(pipeline: DiffusionPipeline) -> Image2ImagePipeline:
        if "only-words" in pipeline.folder.name:
            raise ValueError("AutoPipeline can't find a pipeline linked to DiffusionPipeline")
        return Image2ImagePipeline(pipeline.folder)
