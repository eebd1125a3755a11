"""A child process that speaks, on a machine without piper."""

import sys
from pathlib import Path

from everloom.models.speech.child import serve
from everloom.models.speech.piper_child import Piper

if __name__ == "__main__":
    sys.modules["piper"] = None  # type: ignore[assignment]  # Python's own way of saying that there is none
    serve(lambda: Piper(Path("voice.onnx")))
