"""The child process of a piper voice: ``python -m everloom.models.speech.piper_child VOICE.onnx`` (see ``child.py``).

piper is under the GPL, carries an espeak-ng of its own for the phonemes, and needs onnxruntime: it stays in here.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from everloom.models.speech.child import Order, Ready, plain, serve

_PIECE = 300
"""Characters spoken at once. A sentence's memory grows with the square of its length, and nobody hears its beginning
before its end is made."""

_ENDS = re.compile(r"(?<=[.!?…。！？؟।\n])\s*")
_PHONEMES = ("espeak", "text")
"""How a voice reads letters. Others would load more models from the network."""


class Piper:
    """One voice, for one text at a time."""

    def __init__(self, path: Path) -> None:
        logging.getLogger("piper").setLevel(logging.ERROR)  # it tells of every letter that a voice does not have
        piper: Any = import_module("piper")
        config_of: Any = import_module("piper.config")
        onnx: Any = import_module("onnxruntime")
        config = config_of.PiperConfig.from_dict(json.loads(path.with_name(path.name + ".json").read_text("utf-8")))
        if config.phoneme_type.value not in _PHONEMES:
            raise ValueError(f"voices that read by {config.phoneme_type.value} phonemes are not supported")
        options = onnx.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others need the processors too
        session = onnx.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
        self._voice = piper.PiperVoice(session=session, config=config)
        self._settings = config_of.SynthesisConfig
        self._speakers = dict(config.speaker_id_map) or {str(n): n for n in range(config.num_speakers)}
        self.rate: int = config.sample_rate
        self.ready = Ready(voices=tuple(self._speakers) if config.num_speakers > 1 else ())

    def speak(self, order: Order, hear: Callable[[bytes], bool]) -> None:
        """As ``child.SpeechEngine``. ``voice`` is a speaker's name, or empty."""
        settings = self._settings(speaker_id=self._speakers[order.voice] if order.voice else None)
        for piece in pieces(plain(order.text)):
            # Text in double brackets would be taken for phonemes.
            for chunk in self._voice.synthesize(piece.replace("[[", "[ ["), settings):
                if not hear(chunk.audio_int16_bytes):
                    return


def pieces(text: str) -> Iterator[str]:
    """The text in sentences; what is longer than a piece is cut between words."""
    for sentence in _ENDS.split(text):
        rest = sentence.strip()
        while len(rest) > _PIECE:
            cut = rest.rfind(" ", 1, _PIECE) + 1 or _PIECE
            yield rest[:cut]
            rest = rest[cut:].lstrip()
        if rest:
            yield rest


if __name__ == "__main__":
    serve(lambda: Piper(Path(sys.argv[1])))
