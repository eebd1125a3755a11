"""What the child processes that speak have in common: orders in, sound out.

Frames (``subprocesses/framing.py``) on standard input bring ``Order`` and ``StopSpeaking`` as MessagePack. Standard
output brings one ``Ready``, then for each order blocks of sound (a byte ``s`` and the sound) and one ``End`` (a byte
``e`` and MessagePack). The child ends when its input does.
"""

import os
import queue
import re
import resource
import time
import unicodedata
from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec import Struct

from everloom.models.subprocesses.framing import ParentPipe

SOUND, END = b"s", b"e"

_BLOCK_BYTES = 4096
_BLOCK_SECONDS = 0.05
"""Sound is sent once it is so much, or so long after what went before."""

_SHORTEST_SECONDS = 0.25
"""A text with nothing to say in it is so much silence: no player chokes on it."""

_LONGEST_WORD = 64
"""Characters. What has no white space for longer is cut."""

_MOST_SPELLED = 32
"""So many letters with dots ("U.S.A.") are read as they are. A hundred in a sentence overrun espeak-ng's stack."""

_LONG = re.compile(rf"(\S{{{_LONGEST_WORD}}})(?=\S)")
_SPELLED = re.compile(r"(?<![^\s.])(?:[^\s.]{1,3}\.){2,}")


class Order(Struct, frozen=True, kw_only=True, tag=True):
    """A text to be spoken: ``voice`` as the engine calls it, ``pitch`` 0 to 99, ``speed`` 0.25 to 4."""

    number: int
    text: str
    voice: str
    format: str
    speed: float = 1.0
    pitch: int = 50


class StopSpeaking(Struct, frozen=True, tag=True):
    """Nobody listens any more to the order of this number."""

    number: int


class Ready(Struct, frozen=True, kw_only=True):
    """The engine is loaded and knows these voices and variants of them; or why it is not. ``missing``: a package."""

    voices: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    error: str = ""
    missing: str = ""


class End(Struct, frozen=True, kw_only=True):
    """The order has been spoken, or broke off for this reason."""

    failed: str = ""


class SpeechEngine(Protocol):
    """Speaks, one text at a time. ``rate``: samples a second of what it makes."""

    rate: int
    ready: Ready

    def speak(self, order: Order, hear: Callable[[bytes], bool]) -> None:
        """Give 16-bit samples to ``hear`` as they are made, until it says False."""
        ...


def plain(text: str) -> str:
    """The text as text: control characters (some are commands to espeak-ng) and every kind of white space but a line's
    end are spaces, marks without a letter are left out (espeak-ng crashes on some), endless words are cut, and endless
    abbreviations lose their dots.
    """
    kept: list[str] = []
    before = " "
    for character in text:
        kind = unicodedata.category(character)
        if kind[0] == "M" and before[0] not in "LMN":
            continue
        kept.append(" " if character != "\n" and kind in _BLANK else character)
        before = kind
    text = "".join(kept)
    if sum(found.count(".") for found in _SPELLED.findall(text)) > _MOST_SPELLED:
        text = _SPELLED.sub(lambda found: found[0].replace(".", " "), text)
    return _LONG.sub(r"\1 ", text)


_BLANK = frozenset(("Cc", "Cs", "Zs", "Zl", "Zp"))


def serve(load: Callable[[], SpeechEngine]) -> None:
    """Take orders until the parent lets go; never returns."""
    parent = ParentPipe()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no text behind
    try:
        engine = load()
    except ImportError as error:
        parent.say(msgspec.msgpack.encode(Ready(error=str(error)[:1000], missing=error.name or "")))
        os._exit(1)
    except Exception as error:
        parent.say(msgspec.msgpack.encode(Ready(error=repr(error)[:1000])))
        os._exit(1)
    parent.say(msgspec.msgpack.encode(engine.ready))
    orders = _Orders()
    parent.listen(orders.hear)
    while True:
        order = orders.next()
        _perform(engine, order, parent, orders)


class _Orders:
    """What is still to be spoken, and what no longer."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._decode = msgspec.msgpack.Decoder(Order | StopSpeaking).decode
        self.stopped = -1

    def next(self) -> Order:
        return self._waiting.get()

    def hear(self, frame: bytes) -> None:
        said = self._decode(frame)
        if isinstance(said, StopSpeaking):
            self.stopped = said.number
        else:
            self._waiting.put(said)


def _perform(engine: SpeechEngine, order: Order, parent: ParentPipe, orders: _Orders) -> None:
    from everloom.models.speech.audio_encoding import Encoder

    failed = ""
    try:
        encoder = Encoder(order.format, engine.rate, order.speed)
        sound = _Sound(parent)
        heard = 0

        def hear(samples: bytes) -> bool:
            nonlocal heard
            if orders.stopped >= order.number:
                return False
            heard += len(samples) // 2
            sound.add(encoder.feed(samples))
            return True

        engine.speak(order, hear)
        lacking = int(_SHORTEST_SECONDS * engine.rate) - heard
        if lacking > 0:
            hear(bytes(2 * lacking))
        if orders.stopped < order.number:
            sound.add(encoder.end())
        sound.send()
    except Exception as error:
        failed = repr(error)[:1000]
    parent.say(END + msgspec.msgpack.encode(End(failed=failed)))


class _Sound:
    """Sound on its way out: the first bytes at once, what follows in blocks."""

    def __init__(self, parent: ParentPipe) -> None:
        self._parent = parent
        self._held = bytearray()
        self._sent = 0.0

    def add(self, data: bytes) -> None:
        self._held += data
        if self._held and (len(self._held) >= _BLOCK_BYTES or time.monotonic() - self._sent > _BLOCK_SECONDS):
            self.send()

    def send(self) -> None:
        if self._held:
            self._parent.say(SOUND + bytes(self._held))
            self._held.clear()
            self._sent = time.monotonic()
