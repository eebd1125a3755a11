"""A training child that misbehaves: ``python standing_in_child.py MODE``. It speaks the frames of the real one."""

import json
import os
import struct
import sys
import time
from pathlib import Path


def say(data: bytes) -> None:
    os.write(1, struct.pack("<I", len(data)) + data)


def tell(**fields: object) -> None:
    say(json.dumps(fields).encode())


def heard() -> dict[str, object]:
    (length,) = struct.unpack("<I", sys.stdin.buffer.read(4))
    order: dict[str, object] = json.loads(sys.stdin.buffer.read(length))
    return order


def main() -> None:
    mode = sys.argv[1]
    heard()
    tell(type="opened", knows_tools=False, marks_calls=False)
    folder = Path(str(heard()["folder"]))
    metrics = {"step": 1, "train_loss": 1.0}
    if mode == "climbs":
        tell(type="saved", step=1, state="../../state-1.pt")
    elif mode == "names-nothing":
        tell(type="saved", step=1, state="state-1.pt")
    elif mode == "links":
        (folder / "checkpoint-1.gguf").symlink_to("/etc/hostname")
        tell(type="checkpoint", metrics=metrics, adapter="checkpoint-1.gguf")
    elif mode == "long":
        say(b"x" * (1 << 20))
    elif mode == "deep":
        say(b"[" * 60_000)
    elif mode == "negative":
        tell(type="stepped", metrics=metrics, trained_tokens=-1, seconds=0.0)
    elif mode == "opens-again":
        tell(type="opened", knows_tools=False, marks_calls=False)
    elif mode == "dies":
        tell(type="stepped", metrics=metrics, trained_tokens=1, seconds=0.0)
        os.kill(os.getpid(), 9)
    elif mode == "full":
        tell(type="away", message="[Errno 28] No space left on device")
    elif mode == "half":
        (folder / "state-1.pt.partial").write_bytes(b"half")
        os.kill(os.getpid(), 9)
    time.sleep(3600)


main()
