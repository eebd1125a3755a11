"""What lies at a path that somebody named as a model: told by its files, without loading any of it."""

import re
from pathlib import Path
from typing import Literal

Format = Literal["gguf", "piper", "whisper", "diffusers"]


def format_of(path: Path) -> Format:
    """``gguf``: a file for llama.cpp. ``piper``: an ``.onnx`` voice with its ``.onnx.json`` beside it. ``whisper``: a
    folder for faster-whisper (CTranslate2). ``diffusers``: a folder of an image pipeline.

    Errors: ``ValueError`` for anything else, with what is missing; ``OSError`` for what may not be read.
    """
    if path.is_dir():
        if (path / "model_index.json").is_file():
            return "diffusers"
        if (path / "model.bin").is_file() and (path / "config.json").is_file():
            return "whisper"
        raise ValueError(
            f"{path} is no folder of a diffusers pipeline (model_index.json) or of faster-whisper (model.bin)"
        )
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if not path.is_file():
        raise ValueError(f"{path} is neither a file nor a folder")
    if path.suffix == ".onnx":
        if path.with_name(path.name + ".json").is_file():
            return "piper"
        raise ValueError(f"{path} is no piper voice: {path.name}.json is not beside it")
    with path.open("rb") as file:
        if file.read(4) == b"GGUF":
            return "gguf"
    raise ValueError(f"{path} is not a GGUF model file")


_PARTS = re.compile(r"(.*)-\d{5}-of-(\d{5})\.gguf")


def files_of(path: Path) -> list[Path]:
    """The files of a model, the named one first: all parts of a GGUF file that was split, a voice with its settings, or
    whatever a folder holds.
    """
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path.with_name(name) for name in names_of(path.name)]


def names_of(name: str) -> list[str]:
    """The files that belong to a model's file of this name, itself first."""
    if name.endswith(".onnx"):
        return [name, name + ".json"]
    parts = _PARTS.fullmatch(name)
    if parts is None:
        return [name]
    names = [f"{parts[1]}-{number:05d}-of-{parts[2]}.gguf" for number in range(1, int(parts[2]) + 1)]
    return [name, *(other for other in names if other != name)]


def size_of(path: Path) -> int:
    """Bytes of all of them. Errors: ``OSError`` when one is missing."""
    return sum(file.stat().st_size for file in files_of(path))
