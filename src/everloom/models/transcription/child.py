"""What the child processes that transcribe have in common: frames in, frames out, one file at a time.

Standard input brings frames of MessagePack, standard output takes them, until the input ends
(``subprocesses/framing.py``). First there is a ``Said`` with ``ready`` or ``error``. Then for each ``TranscriptionJob``
there are ``Said``s: ``seconds`` once the file is decoded, ``language`` once that is known, ``segment``s, and at the end
``done``, ``refused``, ``failed`` or ``stopped``. A nil instead of a job asks the child to leave the one at hand.
"""

import contextlib
import os
import queue
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from everloom.models.subprocesses.framing import ParentPipe
from everloom.models.transcription.audio_decoding import RATE, UNDECODABLE, Refused, samples
from everloom.models.transcription.request import Said, TranscriptionJob
from everloom.models.transcription.subtitles import Segment

GoOn = Callable[[], None]
"""Raises when nobody waits any more."""


class Recognizer(Protocol):
    """What makes words of samples."""

    def hear(self, pcm: bytearray, job: TranscriptionJob, go_on: GoOn) -> tuple[str, Iterator[Segment]]:
        """The language (two letters), and the segments as they are found. Errors: ``Refused``."""
        ...


class Stopped(Exception):
    """Whoever asked has left."""


def serve(load: Callable[[], Recognizer], memory: int | None) -> None:
    """Serve until the parent lets go. ``memory``: bytes of addresses the process may use; None for any number."""
    parent = ParentPipe()
    child = _Child(parent)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        recognizer = load()
    except Exception as error:  # told to the parent, whatever it is
        child.say(Said(error=f"{type(error).__name__}: {error}"[:500]))
        os._exit(1)
    child.say(Said(ready=True))
    parent.listen(child.hear)
    while True:
        child.work(recognizer, child.jobs.get())


class _Child:
    def __init__(self, parent: ParentPipe) -> None:
        self.jobs: queue.SimpleQueue[TranscriptionJob] = queue.SimpleQueue()
        self._parent = parent
        self._stop = threading.Event()
        self._decode = msgspec.msgpack.Decoder(TranscriptionJob | None).decode

    def hear(self, frame: bytes) -> None:
        """Take what the parent says."""
        job = self._decode(frame)
        if job is None:
            self._stop.set()
        else:
            self._stop.clear()
            self.jobs.put(job)

    def say(self, said: Said) -> None:
        self._parent.say(msgspec.msgpack.encode(said))

    def go_on(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def work(self, recognizer: Recognizer, job: TranscriptionJob) -> None:
        try:
            pcm = samples(Path(job.path), self.go_on)
            self.say(Said(seconds=len(pcm) / (2 * RATE)))
            language, segments = recognizer.hear(pcm, job, self.go_on)
            self.say(Said(language=language))
            for segment in segments:
                self.say(Said(segment=segment))
                self.go_on()
            self.say(Said(done=True))
        except Stopped:
            self.say(Said(stopped=True))
        except Refused as refused:
            self.say(Said(refused=(refused.message, refused.code, refused.param)))
        except MemoryError:
            self.say(Said(refused=(UNDECODABLE, "invalid_value", "file")))
        except Exception as error:  # told to the parent, whatever it is
            self.say(Said(failed=f"{type(error).__name__}: {error}"[:500]))
