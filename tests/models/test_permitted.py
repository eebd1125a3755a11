"""Which names model permissions leave, and what is said of the others."""

import asyncio
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from everloom.kit.errors import BadRequest, NotFound
from everloom.models.base import Capability
from everloom.models.registry import Models
from everloom.models.upstream.backend import UpstreamBackend
from everloom.objects.models import Model
from everloom.objects.rules import ModelPermissions
from tests.scripted import ScriptedUpstream

remote = UpstreamBackend("http://127.0.0.1:9/remote", retries=0)
"""Port 9 (discard): where names are all that counts, nothing is asked."""


class Box:
    """A backend that does what it is told it does; the registry asks it nothing else."""

    def __init__(self, name: str, *capabilities: Capability) -> None:
        self.name = name
        self._capabilities = frozenset(capabilities)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def models(self) -> list[Model]:
        return [Model(id=self.name, created=1, owned_by="tests")]

    def capabilities(self, model: str) -> frozenset[Capability]:
        return self._capabilities


talker, voice, guard = Box("talker", "chat"), Box("voice", "speak"), Box("guard", "moderate")
ENTRIES: list[tuple[str, Any, str | None]] = [
    ("talker", talker, None),
    ("voice", voice, None),
    ("guard", guard, None),
    ("fast", remote, "big-model"),
    ("org/*", remote, None),
]
ALIASES = [("gpt-4o", "talker"), ("old-*", "talker"), ("old-*", "voice"), ("quick", "fast"), ("far", "org/far")]
STAND_INS = [("omni-moderation-*", "guard")]


def seen(mode: Literal["allow_list", "deny_list"], *names: str, default: Any = None, **more: Any) -> Models:
    models = Models(ENTRIES, ALIASES, default=default, stand_ins=STAND_INS, **more)
    return models.seen_by("proj_a", ModelPermissions(mode=mode, model_ids=list(names)))


def said(models: Models, name: str, capability: Capability | None = None) -> str:
    with pytest.raises(NotFound) as caught:
        models.resolve(name, capability)
    assert (caught.value.param, caught.value.code) == ("model", "model_not_found")
    return caught.value.message


def listed(models: Models) -> list[str]:
    async def names() -> list[str]:
        await models.open()
        try:
            return [model.id for model in await models.list()]
        finally:
            await models.close()

    return asyncio.run(names())


@pytest.fixture
def served() -> Iterator[UpstreamBackend]:
    with ScriptedUpstream(models=("gpt-5", "gpt-5-mini", "org/one")) as upstream:
        yield UpstreamBackend(upstream.url)


def test_a_denied_model_is_denied_under_every_name_that_leads_to_it() -> None:
    models = seen("deny_list", "talker")
    for name in ("talker", "gpt-4o"):
        said(models, name, "chat")
    assert models.resolve("old-tts", "speak") == (voice, "voice")
    with pytest.raises(BadRequest, match="does not chat"):
        models.resolve("old-gpt", "chat")
    assert models.resolve("quick") == (remote, "big-model")
    models = seen("deny_list", "big-model")
    for name in ("fast", "quick"):
        said(models, name)
    models = seen("deny_list", "org/far")
    for name in ("far", "org/far"):
        said(models, name)
    assert models.resolve("org/near") == (remote, "org/near")


def test_a_denied_alias_leaves_its_model() -> None:
    models = seen("deny_list", "gpt-4o")
    said(models, "gpt-4o", "chat")
    assert models.resolve("talker", "chat") == (talker, "talker")


@pytest.mark.parametrize("name", ["o1", "O1", " o1 ", "o1:latest", "O1:Latest"])
def test_a_model_of_the_default_is_denied_however_it_is_written(name: str) -> None:
    for denied in ("o1", "o1:latest"):
        said(seen("deny_list", denied, default=remote), name)
    assert seen("deny_list", "o1-mini", default=remote).resolve(name) == (remote, name)


def test_an_allow_list_leaves_what_it_names_word_for_word() -> None:
    models = seen("allow_list", "gpt-4o", "quick", "org/near", "nobody-serves-this", default=remote)
    assert models.resolve("gpt-4o", "chat") == (talker, "talker")
    assert models.resolve("quick") == (remote, "big-model")
    assert models.resolve("org/near") == (remote, "org/near")
    for name in (
        "talker",
        "fast",
        "GPT-4o",
        "gpt-4o ",
        "old-gpt",
        "org/far",
        "big-model",
        "omni-moderation-latest",
        "",
    ):
        said(models, name)
    said(seen("allow_list", default=remote), "anything")


def test_a_deny_list_of_nothing_denies_nothing() -> None:
    models = Models(ENTRIES, ALIASES, default=remote)
    assert listed(seen("deny_list")) == listed(Models(ENTRIES, ALIASES))
    assert models.seen_by("proj_a") is models


def test_a_stand_in_is_an_alias() -> None:
    assert seen("allow_list", "omni-moderation-latest").resolve("omni-moderation-latest", "moderate") == (
        guard,
        "guard",
    )
    said(seen("allow_list", "guard"), "omni-moderation-latest", "moderate")
    said(seen("deny_list", "guard"), "omni-moderation-latest", "moderate")
    said(seen("deny_list", "omni-moderation-latest"), "omni-moderation-latest", "moderate")


def test_lists_have_what_may_be_asked_for(served: UpstreamBackend) -> None:
    def names(mode: Literal["allow_list", "deny_list"], *ids: str) -> list[str]:
        entries = [*ENTRIES[:3], ("org/*", served, None)]
        models = Models(entries, ALIASES[:1], default=served)
        return listed(models.seen_by("proj_a", ModelPermissions(mode=mode, model_ids=list(ids))))

    everything = ["talker", "voice", "guard", "org/one", "gpt-5", "gpt-5-mini", "gpt-4o"]
    assert names("deny_list") == everything
    assert names("deny_list", "talker", "GPT-5") == ["voice", "guard", "org/one", "gpt-5-mini"]
    assert names("allow_list", "gpt-4o", "org/one", "gpt-5", "more") == ["org/one", "gpt-5", "gpt-4o"]


@pytest.mark.parametrize("capability", [None, "chat", "speak"])
@pytest.mark.parametrize("name", ["talker", "gpt-4o"])
def test_nothing_tells_a_denied_model_from_none(name: str, capability: Capability | None) -> None:
    models = seen("deny_list", "talker")
    unknown = said(models, "nobody", capability)
    assert said(models, name, capability) == unknown.replace("nobody", name)
    assert "talker" not in said(models, "gpt-4o", capability)


def test_no_hint_names_what_may_not_be_asked_for() -> None:
    models = seen("deny_list", "talker", "fast")
    assert "no model that does this is set up" in said(models, "gpt-4o", "chat")
    with pytest.raises(BadRequest) as caught:
        models.resolve("guard", "speak")
    assert caught.value.message == "The model `guard` does not speak. On this server `voice` does."
    with pytest.raises(BadRequest) as caught:
        seen("deny_list", "voice", "fast").resolve("guard", "speak")
    assert caught.value.message == "The model `guard` does not speak."
    # Not even what an alias would lead to, had anybody anything there.
    lost = Models([("talker", talker, None)], [("lost", "secret")])
    assert "secret" not in said(lost.seen_by("a", ModelPermissions(mode="deny_list", model_ids=["x"])), "lost")


def test_what_the_settings_hide_stays_hidden() -> None:
    models = seen("allow_list", "talker", "gpt-4o", "voice", projects={"talker": ("proj_b",)})
    for name in ("talker", "gpt-4o"):
        said(models, name)
    assert models.resolve("voice") == (voice, "voice")


def test_a_model_has_its_limits_under_one_name() -> None:
    models = Models(ENTRIES, [*ALIASES, ("any-*", "org/far")], default=remote, stand_ins=STAND_INS)
    for name, capability, limited in (
        ("talker", "chat", "talker"),
        ("gpt-4o", "chat", "talker"),
        ("old-1", "chat", "talker"),
        ("old-2", "speak", "voice"),
        ("fast", None, "fast"),
        ("quick", None, "fast"),
        ("any-1", None, "org/far"),
        ("omni-moderation-latest", "moderate", "guard"),
        ("gpt-9", None, "gpt-9"),
    ):
        assert models.limited_as(name, capability) == limited  # type: ignore[arg-type]
    fixed = Models([("gpt-*", remote, "llama")])
    assert {fixed.limited_as(name) for name in ("gpt-1", "gpt-2")} == {"llama"}
    with pytest.raises(NotFound):
        fixed.limited_as("other")
