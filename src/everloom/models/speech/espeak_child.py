"""The child process that speaks with espeak-ng: ``python -m everloom.models.speech.espeak_child`` (see ``child.py``).

espeak-ng is under the GPL, keeps its state in global variables and crashes on some texts: three reasons for a process
of its own, which nothing but texts and sound go in and out of.
"""

import ctypes
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from everloom.models.speech.child import Order, Ready, plain, serve

# The constants of espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_UTF8 = 1
_CHARACTERS = 1
_PITCH = 3
_OK = 0

_BUFFER_MS = 100


class Espeak:
    """The library, of which a process can have one, for one text at a time."""

    def __init__(self) -> None:
        loader: Any = import_module("espeakng_loader")
        data = loader.get_data_path()
        self._library = ctypes.CDLL(loader.get_library_path())
        self._library.espeak_Synth.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
            *(ctypes.c_void_p, ctypes.c_void_p),
        ]
        self.rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, data.encode(), _DONT_EXIT)
        if self.rate <= 0:
            raise OSError(f"espeak-ng cannot read its data in {data}")
        self._callback = _Callback(self._made)
        self._library.espeak_SetSynthCallback(self._callback)
        self.ready = _ready(Path(data))
        self._hear: Callable[[bytes], bool] = lambda samples: False
        self._fault: Exception | None = None

    def speak(self, order: Order, hear: Callable[[bytes], bool]) -> None:
        """As ``child.SpeechEngine``. Neither SSML nor phonemes nor commands are read out of the text."""
        self._hear, self._fault = hear, None
        if self._library.espeak_SetVoiceByName(order.voice.encode()) != _OK:
            raise ValueError(f"espeak-ng has no voice {order.voice!r}")
        self._library.espeak_SetParameter(_PITCH, order.pitch, 0)
        text = plain(order.text).encode("utf-8", "replace")
        self._library.espeak_Synth(text, len(text) + 1, 0, _CHARACTERS, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        if self._fault is not None:
            raise self._fault

    def _made(self, samples: Any, count: int, events: Any) -> int:
        """Called by the library with every tenth of a second; 1 makes it stop."""
        if not samples or count <= 0:
            return 0
        try:
            return 0 if self._hear(ctypes.string_at(samples, 2 * count)) else 1
        except Exception as error:  # must not reach C
            self._fault = error
            return 1


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def _ready(data: Path) -> Ready:
    """The languages and variants that there are. Any other name would be looked for as a file."""
    languages = {file.name.lower() for file in (data / "lang").rglob("*") if file.is_file()}
    variants = {file.name for file in (data / "voices" / "!v").iterdir() if file.is_file()}
    return Ready(voices=tuple(sorted(languages)), variants=tuple(sorted(variants)))


if __name__ == "__main__":
    serve(Espeak)
