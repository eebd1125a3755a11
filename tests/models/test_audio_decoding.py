"""Sound files with odd heads: what comes out is samples or a refusal, never another error."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from everloom.models.transcription.audio_decoding import RATE, TOO_SHORT, UNDECODABLE, Refused, samples
from tests.odd_sounds import TONE, fmt, mutated, odd_wavs, riff
from tests.recordings import wav


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sound"


def outcome(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    try:
        return "samples" if samples(path) else "nothing"
    except (Refused, MemoryError):  # of both the child makes a 400
        return "refused"


def outcomes(path: Path, files: Iterator[tuple[str, bytes]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, data in files:
        found.setdefault(outcome(path, data), []).append(name)
    return found


def test_an_odd_wav_is_heard_or_refused(path: Path) -> None:
    found = outcomes(path, odd_wavs())
    assert set(found) == {"samples", "refused"}
    assert {"no data", "no format", "empty", "0 channels", "0 Hz", "1 Hz", "codec 0xffff"} <= set(found["refused"])
    assert {"data of 4294967295", "a file of 0"} <= set(found["samples"])


@pytest.mark.parametrize("seed", range(3))
def test_a_file_with_a_broken_head_is_heard_or_refused(path: Path, seed: int) -> None:
    found = outcomes(path, mutated(30, seed))
    assert set(found) == {"samples", "refused"}


def test_a_codec_that_nobody_knows_is_refused_in_the_platforms_words(path: Path) -> None:
    path.write_bytes(riff(fmt(0x674F), b"data" + len(TONE).to_bytes(4, "little") + TONE))
    with pytest.raises(Refused) as refused:
        samples(path)
    assert (refused.value.message, refused.value.code) == (UNDECODABLE, "invalid_value")


def test_a_moment_is_too_short(path: Path) -> None:
    path.write_bytes(wav(bytes(RATE // 10), RATE))
    with pytest.raises(Refused) as refused:
        samples(path)
    assert (refused.value.message, refused.value.code) == (TOO_SHORT, "audio_too_short")


def test_whoever_leaves_is_let_go(path: Path) -> None:
    class Gone(Exception):
        pass

    def leave() -> None:
        raise Gone

    path.write_bytes(wav(bytes(2 * RATE), RATE))
    with pytest.raises(Gone):
        samples(path, leave)
