"""What a model that cannot be used answers."""

import asyncio
from pathlib import Path

import pytest

from everloom.app.models import build_models
from everloom.config import Settings
from everloom.kit.errors import ModelFailure
from everloom.objects.model_entries import ModelEntry


def test_a_path_that_holds_no_model_stops_no_start_and_is_told_when_asked(tmp_path: Path) -> None:
    entry = ModelEntry(id="lost", backend="local", path=tmp_path / "unmounted" / "a.gguf")
    models, _ = build_models(Settings(data=tmp_path, models=(entry,)))

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
