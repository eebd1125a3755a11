"""What the child processes that transcribe have in common: frames in, frames out, one file at a time.

Standard input brings frames, standard output takes them, until the input ends. A frame is its length (four bytes,
little-endian) and that many bytes of MessagePack. First there is a ``Said`` with ``ready`` or ``error``. Then for
each ``Job`` there are ``Said``s: ``seconds`` once the file is decoded, ``language`` once that is known, ``segment``s,
and at the end ``done``, ``refused``, ``failed`` or ``stopped``. A nil instead of a job asks the child to leave the one
at hand.
"""

import contextlib
import os
import queue
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

import msgspec

from everloom.models.subprocesses.framing import read_frame, write_frame
from everloom.models.transcription.audio_decoding import RATE, UNDECODABLE, Refused, samples
from everloom.models.transcription.request import Job, Said
from everloom.models.transcription.subtitles import Segment

GoOn = Callable[[], None]
"""Raises when nobody waits any more."""


class Recognizer(Protocol):
    """What makes words of samples."""

    def hear(self, pcm: bytearray, job: Job, go_on: GoOn) -> tuple[str, Iterator[Segment]]:
        """The language (two letters), and the segments as they are found. Errors: ``Refused``."""
        ...


class Stopped(Exception):
    """Whoever asked has left."""


def serve(load: Callable[[], Recognizer], memory: int | None) -> None:
    """Serve until the parent lets go. ``memory``: bytes of addresses the process may use; None for any number."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent closes the pipe, also after Ctrl-C
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = _Child(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
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
    threading.Thread(target=child.listen, args=(sys.stdin.buffer,), daemon=True).start()
    while True:
        child.work(recognizer, child.jobs.get())


class _Child:
    def __init__(self, output: IO[bytes]) -> None:
        self.jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._output = output
        self._stop = threading.Event()

    def listen(self, file: IO[bytes]) -> None:
        """Take what the parent says; when it has gone, go too."""
        decode = msgspec.msgpack.Decoder(Job | None).decode
        while (frame := read_frame(file)) is not None:
            job = decode(frame)
            if job is None:
                self._stop.set()
            else:
                self._stop.clear()
                self.jobs.put(job)
        os._exit(0)

    def say(self, said: Said) -> None:
        write_frame(self._output, msgspec.msgpack.encode(said))

    def go_on(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def work(self, recognizer: Recognizer, job: Job) -> None:
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
