"""What a path is taken for."""

from pathlib import Path

import pytest

from everloom.models.files.formats import format_of


def made(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"{}")
    return folder


def test_each_format_is_known_by_its_files(tmp_path: Path) -> None:
    assert format_of(made(tmp_path / "sd", "model_index.json")) == "diffusers"
    assert format_of(made(tmp_path / "tiny", "model.bin", "config.json")) == "whisper"
    assert format_of(made(tmp_path / "voices", "amy.onnx", "amy.onnx.json") / "amy.onnx") == "piper"
    gguf = tmp_path / "any.name"
    gguf.write_bytes(b"GGUF\x03")
    assert format_of(gguf) == "gguf"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere", "does not exist"),
        ("empty", "is no folder of"),
        ("a.onnx", "a.onnx.json is not beside"),
        ("a.txt", "GGUF"),
    ],
)
def test_anything_else_is_refused_with_its_reason(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.onnx").write_bytes(b"x")
    (tmp_path / "a.txt").write_bytes(b"x")
    with pytest.raises(ValueError, match=why):
        format_of(tmp_path / name)
