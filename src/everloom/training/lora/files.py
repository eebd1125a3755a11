"""What training leaves in its folder: states to go on from, and adapters as GGUF files. Runs in the child.

A file is there whole or not at all. Format of adapters: as llama.cpp's ``convert_lora_to_gguf.py`` writes them.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from everloom.kit.files import sync_folder
from everloom.training.lora.gguf_model import GgufModel
from everloom.training.lora.network import MODULES, turn
from everloom.training.lora.plan import ALPHA

PARTIAL = ".partial"
_VERSION = 1
_PREFIX = "base_model.model.model.layers."


class BadState(ValueError):
    """A state file that is damaged, or of another training."""


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Errors: ``OSError`` where the disk does not take it."""
    data = io.BytesIO()  # torch itself hides what the disk says
    torch.save({"version": _VERSION, **state}, data)
    write_whole(path, lambda partial: partial.write_bytes(data.getbuffer()))


def load_state(path: Path, longest: int) -> dict[str, Any]:
    """``longest``: bytes that it may have. Errors: ``BadState``."""
    try:
        if path.stat().st_size > longest:
            raise BadState("it is longer than any state of this training")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except BadState:
        raise
    except Exception as error:  # whatever damaged archives make torch raise
        raise BadState(f"{error or error!r}"[:500]) from error
    if not isinstance(state, dict) or state.get("version") != _VERSION:
        raise BadState("it is of another version")
    return state


def write_adapter(path: Path, model: GgufModel, adapter: dict[str, Any], name: str) -> None:
    """The adapter's two matrices for each of the base's seven a layer. Errors: ``OSError``."""
    shape = model.shape()
    heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads} if shape.architecture == "llama" else {}

    def write(partial: Path) -> None:
        writer = gguf.GGUFWriter(partial, shape.architecture)
        try:
            writer.add_type("adapter")
            writer.add_string("adapter.type", "lora")
            writer.add_float32("adapter.lora.alpha", float(ALPHA))
            writer.add_name(name)
            for place, part in adapter.items():
                target, side = _place(place)
                data = part.detach().cpu().numpy().astype(np.float32)
                if side == "b" and target.rpartition(".")[2] in heads:
                    data = turn(data, heads[target.rpartition(".")[2]])
                writer.add_tensor(f"{target}.weight.lora_{side}", data)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()

    write_whole(path, write)


def _place(name: str) -> tuple[str, str]:
    """``…layers.3.self_attn.q_proj.lora_A.default.weight`` is ``blk.3.attn_q`` and ``a``."""
    layer, _, rest = name.removeprefix(_PREFIX).partition(".")
    module, _, side = rest.partition(".lora_")
    return f"blk.{int(layer)}.{MODULES[module]}", side[0].lower()


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Have ``write`` fill a file beside it, and put that in its place once it is on the disk."""
    partial = path.with_name(path.name + PARTIAL)
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)
