"""The child process that makes the vectors of all-MiniLM-L6-v2.

``python -m everloom.models.minilm.child SAFETENSORS TOKENIZER THREADS`` reads frames from standard input and writes
frames to standard output until the input ends (``subprocesses/framing.py``). Each holds MessagePack: first
``{"ready": true}`` or ``{"error": text}``, then for each ``[id, [text or tokens, …]]`` an ``[id, {...}]`` with
``tokens``, a number for each text, and ``vectors`` (little-endian floats). A text that is too long has no vector;
tokens that the model does not have count as none. ``failed`` says what was wrong with all of it.
"""

import os
import queue
import struct
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everloom.models.subprocesses.framing import ParentPipe

if TYPE_CHECKING:
    from everloom.models.minilm.network import MiniLM

_TOKENS_TOGETHER = 1024
"""Tokens computed at once, so that what passes between two layers fits a processor's cache."""


def main() -> None:
    """Serve until the parent lets go."""
    parent = ParentPipe()
    # A thread of ours for each core does better than matrix products that are shared out and wait for each other
    # spinning: 400 texts a second against 160 on two busy cores. Read when numpy loads.
    for library in ("OPENBLAS_NUM", "OMP_NUM", "MKL_NUM", "BLIS_NUM", "VECLIB_MAXIMUM"):
        os.environ[f"{library}_THREADS"] = "1"
    import msgspec  # after the settings above

    from everloom.models.minilm.network import MiniLM

    try:
        model = MiniLM(Path(sys.argv[1]), Path(sys.argv[2]))
    except (OSError, ValueError, KeyError, struct.error) as error:
        parent.say(msgspec.msgpack.encode({"error": repr(error)[:500]}))
        os._exit(1)
    parent.say(msgspec.msgpack.encode({"ready": True}))
    batches: queue.SimpleQueue[tuple[int, list[Any]]] = queue.SimpleQueue()
    for _ in range(int(sys.argv[3])):
        threading.Thread(target=_work, args=(model, batches, parent), daemon=True).start()
    decode = msgspec.msgpack.Decoder().decode
    for frame in parent.frames():
        batches.put(decode(frame))
    os._exit(0)


def _work(model: "MiniLM", batches: "queue.SimpleQueue[tuple[int, list[Any]]]", parent: ParentPipe) -> None:
    from msgspec.msgpack import encode

    while True:
        number, inputs = batches.get()
        try:
            parent.say(encode((number, _embed(model, inputs))))
        except Exception as error:
            parent.say(encode((number, {"failed": repr(error)[:500]})))


def _embed(model: "MiniLM", inputs: list[Any]) -> dict[str, Any]:
    lists = [_tokens(model, value) for value in inputs]
    vectors: list[bytes] = [b""] * len(lists)
    # Those of one length attend in one go, so like goes with like.
    fitting = [place for place, tokens in enumerate(lists) if 0 < len(tokens) <= model.context]
    order = sorted(fitting, key=lambda place: len(lists[place]))
    while order:
        together = [order.pop()]
        size = len(lists[together[0]])
        while order and size + len(lists[order[-1]]) <= _TOKENS_TOGETHER:
            together.append(order.pop())
            size += len(lists[together[-1]])
        for place, vector in zip(together, model.embed([lists[place] for place in together]), strict=True):
            vectors[place] = vector.astype("<f4").tobytes()
    return {"tokens": [len(tokens) for tokens in lists], "vectors": vectors}


def _tokens(model: "MiniLM", value: str | list[int]) -> list[int]:
    try:
        return model.tokens(value)
    except ValueError:
        return []


if __name__ == "__main__":
    main()
