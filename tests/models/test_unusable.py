"""What a model that cannot be used answers."""

import asyncio
from pathlib import Path

import pytest

from everloom.app.models import build_models
from everloom.config import Settings
from everloom.kit.errors import ModelFailure
from everloom.models.llama.backend import LlamaBackend
from everloom.objects.model_entries import ModelEntry


def test_a_path_that_holds_no_model_stops_no_start_and_is_told_when_asked(tmp_path: Path) -> None:
    entry = ModelEntry(id="lost", backend="local", path=tmp_path / "unmounted" / "a.gguf")
    models, _, _ = build_models(Settings(data=tmp_path, models=(entry,)))

    async def ask() -> str:
        await models.open()
        try:
            assert "lost" in [model.id for model in await models.list()]
            chats, own = models.resolve("lost", "chat")
            with pytest.raises(ModelFailure, match="does not exist") as chat:
                await chats.chat({"model": own})
            speaks, own = models.resolve("lost", "speak")
            with pytest.raises(ModelFailure, match="does not exist"):
                await speaks.speak({"model": own})
            return f"{chat.value.status} {chat.value.message}"
        finally:
            await models.close()

    told = asyncio.run(ask())
    assert told.startswith("503 The model `lost` cannot be used: ")
    assert str(entry.path) in told


def test_sampling_of_a_model_that_is_not_there_is_told_when_it_is_asked(tmp_path: Path) -> None:
    entries = tuple(ModelEntry(id=name, backend="local", temperature=0.5) for name in ("smollm2-135m", "lost"))
    models, *_ = build_models(Settings(data=tmp_path, models=entries))

    async def ask() -> None:
        await models.open()
        try:
            chats, own = models.resolve("lost", "chat")
            with pytest.raises(ModelFailure, match="no local model of this name"):
                await chats.chat({"model": own})
            chats, own = models.resolve("smollm2-135m", "chat")
            assert own == "smollm2-135m"
            assert isinstance(chats, LlamaBackend)
        finally:
            await models.close()

    asyncio.run(ask())
