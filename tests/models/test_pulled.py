"""Who answers once a model of the catalogue was pulled. The files here have the right sizes and nothing in them."""

import logging
import os
import sys
from pathlib import Path

import pytest

from everloom.app.models import build_models, build_prices
from everloom.config import Settings
from everloom.context.pricing import NOBODYS
from everloom.kit.errors import NotFound
from everloom.models.base import Capability
from everloom.models.files.catalogue import PIPER_JOE, QWEN_CODER, WHISPER_BASE, WHISPER_TINY_EN, CatalogueModel
from everloom.models.files.weights import Weights
from everloom.models.registry import Models
from everloom.models.upstream.backend import UpstreamBackend
from everloom.objects.model_entries import ModelEntry
from tests.models.gguf_tiny import tiny_gguf


def lay(folder: Path, *models: CatalogueModel) -> None:
    """Files where those of the models would be."""
    for model in models:
        for path, file in zip(Weights(folder).paths(model.weight), model.weight.files, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.truncate(path, file.bytes)


def built(folder: Path, *models: CatalogueModel, **settings: object) -> Models:
    lay(folder / "weights", *models)
    return build_models(Settings(data=folder, **settings))[0]  # type: ignore[arg-type]  # by name


def answers(models: Models, name: str, capability: Capability) -> str:
    return models.find(name, capability).model


@pytest.fixture
def libraries() -> None:
    pytest.importorskip("faster_whisper", reason="needs the extra [whisper]")
    pytest.importorskip("piper", reason="needs the extra [piper]")


@pytest.mark.usefixtures("libraries")
def test_what_was_pulled_answers_for_the_platforms_names(tmp_path: Path) -> None:
    models = built(tmp_path, QWEN_CODER, WHISPER_BASE, WHISPER_TINY_EN, PIPER_JOE)
    for name in ("gpt-4o", "gpt-3.5-turbo", "chatgpt-4o-latest", "o1-mini", "o3", "qwen2.5-coder-0.5b"):
        assert answers(models, name, "chat") == "qwen2.5-coder-0.5b"
    assert answers(models, "gpt-3.5-turbo-instruct", "complete") == "qwen2.5-coder-0.5b"
    for name in ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe-2025"):
        assert answers(models, name, "transcribe") == "whisper-base"
    for name in ("tts-1", "tts-1-hd", "gpt-4o-mini-tts"):
        assert answers(models, name, "speak") == "piper-en-us-joe"
    assert answers(models, "whisper-tiny.en", "transcribe") == "whisper-tiny.en"
    assert answers(models, "omni-moderation-latest", "moderate") == Settings().moderation_model
    for name in ("smollm2-135m", "espeak-ng", "pocketsphinx"):
        assert models.find(name, None).model == name


def test_without_it_the_models_in_the_box_answer(tmp_path: Path) -> None:
    models = built(tmp_path)
    assert answers(models, "gpt-4o", "chat") == answers(models, "davinci-002", "complete") == "smollm2-135m"
    assert answers(models, "whisper-1", "transcribe") == answers(models, "gpt-4o-transcribe", "transcribe")
    assert answers(models, "whisper-1", "transcribe") == "pocketsphinx"
    assert answers(models, "tts-1-hd", "speak") == answers(models, "gpt-4o-mini-tts", "speak") == "espeak-ng"
    assert answers(models, "text-embedding-3-large", "embed") == "all-minilm-l6-v2"


def test_or_nobody_where_the_settings_say_so(tmp_path: Path) -> None:
    models = built(tmp_path, stand_ins=False)
    for name, capability, example in (
        ("gpt-4o", "chat", "smollm2-135m"),
        ("whisper-1", "transcribe", "pocketsphinx"),
        ("tts-1", "speak", "espeak-ng"),
    ):
        with pytest.raises(NotFound, match=f"EVERLOOM_ALIASES='{name}={example}'"):
            models.find(name, capability)  # type: ignore[arg-type]  # they are capabilities


def test_a_name_that_is_not_the_platforms_is_nobodys_still(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"EVERLOOM_ALIASES='my-model=qwen2\.5-coder-0\.5b'"):
        built(tmp_path, QWEN_CODER).find("my-model", "chat")


def test_half_a_model_is_none(tmp_path: Path) -> None:
    lay(tmp_path / "weights", WHISPER_TINY_EN)
    (tmp_path / "weights" / "whisper-tiny.en" / "model.bin").write_bytes(b"half")
    with pytest.raises(NotFound):
        built(tmp_path).find("whisper-tiny.en", None)


@pytest.mark.usefixtures("libraries")
def test_the_settings_win(tmp_path: Path) -> None:
    models = built(tmp_path, QWEN_CODER, PIPER_JOE, aliases=(("gpt-*", "smollm2-135m"), ("tts-1*", "espeak-ng")))
    assert answers(models, "gpt-4o", "chat") == "smollm2-135m"
    assert answers(models, "tts-1", "speak") == "espeak-ng"
    assert answers(models, "o1", "chat") == "qwen2.5-coder-0.5b"

    remote = built(tmp_path, upstream="http://127.0.0.1:1/v1")
    assert isinstance(remote.find("gpt-4o", "chat").backend, UpstreamBackend)
    assert isinstance(remote.find("whisper-1", "transcribe").backend, UpstreamBackend)
    assert answers(remote, "qwen2.5-coder-0.5b", "chat") == "qwen2.5-coder-0.5b"


def test_a_name_that_the_settings_give_away_is_theirs(tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(tiny_gguf(tail=1000))
    entries = (ModelEntry(id="qwen2.5-coder-0.5b", backend="upstream", base_url="http://127.0.0.1:1/v1"),)
    models = built(tmp_path, QWEN_CODER, models=entries)
    assert isinstance(models.find("qwen2.5-coder-0.5b", "chat").backend, UpstreamBackend)
    with pytest.raises(NotFound):
        models.find("gpt-4o", "chat")
    local = built(tmp_path, models=(ModelEntry(id="gpt-4o", backend="local", path=mine),))
    assert answers(local, "gpt-4o", "chat") == "gpt-4o"
    assert answers(local, "gpt-4", "chat") == "qwen2.5-coder-0.5b"


def test_what_lacks_its_library_says_so_and_stands_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)  # Python's own way of saying that there is none
    with caplog.at_level(logging.WARNING):
        models = built(tmp_path, WHISPER_BASE)
    assert caplog.messages == ["whisper-base was pulled and is not used: it needs pip install 'everloom[whisper]'"]
    assert answers(models, "whisper-base", "transcribe") == "whisper-base"
    assert answers(models, "whisper-1", "transcribe") == "pocketsphinx"


def test_it_costs_nothing(tmp_path: Path) -> None:
    lay(tmp_path / "weights", QWEN_CODER)
    prices = build_prices(Settings(data=tmp_path))
    assert prices.of("qwen2.5-coder-0.5b") == NOBODYS
    assert prices.of("gpt-4o") != NOBODYS
