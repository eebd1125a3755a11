"""The head of a model file."""

from pathlib import Path

import pytest

from everloom.models.files.gguf import GgufHeader, check_whole, read_head
from tests.weights import default_gguf


def test_the_default_model_was_trained_on_8192_tokens() -> None:
    head = read_head(default_gguf())
    expected = GgufHeader(8192, embeds=False, token_bytes=30 * 2 * 3 * 64 * 2, general=head.general)
    assert head == expected
    assert head.general["architecture"] == "llama"
    assert head.general["basename"] == "smollm2"


@pytest.mark.parametrize("kept", [0, 10, 30, 200])
def test_a_file_cut_short_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(default_gguf().read_bytes()[:kept])
    with pytest.raises(ValueError, match="ends too early"):
        read_head(path)


@pytest.mark.parametrize(("kept", "says"), [(200_000, "ends too early"), (50_000_000, "ends before its tensors do")])
def test_a_copy_that_broke_off_is_found(tmp_path: Path, kept: int, says: str) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(default_gguf().read_bytes()[:kept])
    assert read_head(path) == read_head(default_gguf())
    with pytest.raises(ValueError, match=says):
        check_whole(path)
    check_whole(default_gguf())


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ValueError, match="not a GGUF"):
        read_head(path)
