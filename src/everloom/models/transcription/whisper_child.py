"""The child process that transcribes and translates with faster-whisper.

``python -m everloom.models.transcription.whisper_child FOLDER THREADS``; what passes over its pipes stands in
``child.py``.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from everloom.models.transcription.audio_decoding import Refused
from everloom.models.transcription.child import GoOn, serve
from everloom.models.transcription.request import TranscriptionJob
from everloom.models.transcription.subtitles import Segment, Word


class Whisper:
    """A model in CTranslate2's form, on the processor, loaded from ``folder``."""

    def __init__(self, folder: str, threads: int) -> None:
        if not Path(folder, "tokenizer.json").is_file():  # The library would ask a hub for one.
            raise FileNotFoundError("tokenizer.json is not beside model.bin")
        os.environ["HF_HUB_OFFLINE"] = "1"  # These are read at the import.
        os.environ["OMP_WAIT_POLICY"] = "passive"
        from faster_whisper import WhisperModel

        self._model: Any = WhisperModel(folder, device="cpu", compute_type="auto", cpu_threads=threads)

    def hear(self, pcm: bytearray, job: TranscriptionJob, go_on: GoOn) -> tuple[str, Iterator[Segment]]:
        """The language, found or given, and what is said. What is no speech is cut out before: whisper makes
        words of silence, and takes its time for them."""
        import numpy as np

        self._check(job)
        sound = np.frombuffer(pcm, dtype=np.int16).astype(np.float32) / 32768.0
        segments, info = self._model.transcribe(
            sound,
            task="translate" if job.translate else "transcribe",
            language=job.language,
            initial_prompt=job.prompt or None,
            hotwords=", ".join(job.keywords) or None,
            word_timestamps=job.words,
            vad_filter=True,
            vad_parameters=_pauses(job),
            **({"temperature": job.temperature} if job.temperature else {}),
        )
        return info.language, _segments(segments, go_on)

    def _check(self, job: TranscriptionJob) -> None:
        """Refuse what the library would pass over with a warning."""
        if job.translate and not self._model.model.is_multilingual:
            raise Refused("This model knows only English and cannot translate.", "invalid_model", "model")
        known = self._model.supported_languages
        if job.language is not None and job.language not in known:
            text = f"Language '{job.language}' is not supported by this model."
            raise Refused(text, "unsupported_language", "language")


def _pauses(job: TranscriptionJob) -> dict[str, Any] | None:
    if job.pauses is None:
        return None
    return {
        "threshold": job.pauses.threshold,
        "min_silence_duration_ms": job.pauses.silence_duration_ms,
        "speech_pad_ms": job.pauses.prefix_padding_ms,
    }


def _segments(found: Any, go_on: GoOn) -> Iterator[Segment]:
    for segment in found:
        go_on()
        yield Segment(
            start=round(float(segment.start), 3),  # numpy's, where words have times
            end=round(float(segment.end), 3),
            text=segment.text,
            words=[
                Word(word=word.word.strip(), start=round(float(word.start), 3), end=round(float(word.end), 3))
                for word in segment.words or ()
            ],
            seek=segment.seek,
            tokens=list(segment.tokens),
            temperature=float(segment.temperature or 0.0),
            avg_logprob=float(segment.avg_logprob),
            no_speech_prob=float(segment.no_speech_prob),
        )


if __name__ == "__main__":
    serve(lambda: Whisper(sys.argv[1], int(sys.argv[2])), None)
