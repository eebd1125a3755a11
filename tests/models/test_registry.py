"""Model names: what wins over what, and what nobody serves."""

import asyncio
from collections.abc import Iterator

import pytest

from everloom.kit.errors import BadRequest, NotFound
from everloom.models.base import Capability
from everloom.models.registry import Models
from everloom.models.upstream.backend import UpstreamBackend
from everloom.objects.models import Model
from tests.scripted import ScriptedUpstream

local = UpstreamBackend("http://127.0.0.1:9/local", model="smollm2-135m", retries=0)
remote = UpstreamBackend("http://127.0.0.1:9/remote", retries=0)
gone = UpstreamBackend("http://127.0.0.1:9/gone", retries=0)
"""Port 9 (discard): where names are all that counts, nothing is asked; where more counts, nobody answers."""


@pytest.fixture
def served() -> Iterator[UpstreamBackend]:
    with ScriptedUpstream(models=("gpt-4o", "gpt-4o-mini", "o1")) as upstream:
        yield UpstreamBackend(upstream.url)


async def listed(models: Models) -> list[str]:
    await models.open()
    try:
        return [model.id for model in await models.list()]
    finally:
        await models.close()


async def got(models: Models, name: str) -> Model:
    await models.open()
    try:
        return await models.get(name)
    finally:
        await models.close()


def test_the_more_exact_entry_wins() -> None:
    models = Models(
        [("gpt-4o*", remote, None), ("gpt-4o-mini", local, "smollm2-135m"), ("smollm2-135m", local, None)],
        [("old-*", "smollm2-135m"), ("old-big", "gpt-4o")],
        default=gone,
    )
    assert models.resolve("gpt-4o-mini") == (local, "smollm2-135m")
    assert models.resolve("gpt-4o-2024") == (remote, "gpt-4o-2024")
    assert models.resolve("old-big") == (remote, "gpt-4o")
    assert models.resolve("old-any") == (local, "smollm2-135m")
    assert models.resolve("anything") == (gone, "anything")


def test_an_alias_for_everything_spares_what_is_named_exactly() -> None:
    models = Models([("smollm2-135m", local, None), ("gpt-4o", remote, None)], [("*", "smollm2-135m")])
    assert models.resolve("gpt-4-turbo") == (local, "smollm2-135m")
    assert models.resolve("smollm2-135m") == (local, "smollm2-135m")
    assert models.resolve("gpt-4o") == (remote, "gpt-4o")


def test_aliases_do_not_lead_to_aliases() -> None:
    models = Models([("smollm2-135m", local, None)], [("a", "b"), ("b", "smollm2-135m")])
    assert models.resolve("b") == (local, "smollm2-135m")
    with pytest.raises(NotFound, match="it is an alias of `b`, which nothing here serves"):
        models.resolve("a")


class Voice:
    """A backend that only speaks; the registry asks it nothing else."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def models(self) -> list[Model]:
        return [Model(id="voice", created=1, owned_by="tests")]

    def capabilities(self, model: str) -> frozenset[Capability]:
        return frozenset({"speak"})


voice = Voice()


class Talker(Voice):
    def capabilities(self, model: str) -> frozenset[Capability]:
        return frozenset({"chat"})


talker = Talker()


def test_an_alias_for_everything_goes_to_the_first_that_offers_it() -> None:
    models = Models([("talker", talker, None), ("voice", voice, None)], [("*", "talker"), ("*", "voice")])
    assert models.resolve("tts-1", "speak") == (voice, "voice")
    assert models.resolve("gpt-4", "chat") == (talker, "talker")
    assert models.resolve("gpt-4") == (talker, "talker")


def test_what_no_alias_offers_goes_to_the_default() -> None:
    models = Models([("talker", talker, None)], [("*", "talker")], default=remote)
    assert models.resolve("tts-1", "speak") == (remote, "tts-1")


def test_a_stand_in_gives_way_to_every_entry_but_the_default() -> None:
    entries = [("voice", voice, None), ("talker", talker, None)]
    stand_ins = [("tts-*", "voice")]
    assert Models(entries, default=remote, stand_ins=stand_ins).resolve("tts-1", "speak") == (voice, "voice")
    served = Models([*entries, ("tts-*", remote, None)], stand_ins=stand_ins)
    assert served.resolve("tts-1", "speak") == (remote, "tts-1")


@pytest.mark.parametrize("aliases", [[], [("named", "talker")]])
def test_a_model_that_does_something_else(aliases: list[tuple[str, str]]) -> None:
    models = Models([("talker", talker, None), ("voice", voice, None)], aliases, default=remote)
    with pytest.raises(BadRequest) as caught:
        models.resolve("named" if aliases else "talker", "speak")
    assert caught.value.message.endswith("does not speak. On this server `voice` does.")
    assert (caught.value.param, caught.value.code) == ("model", "invalid_model")


def test_a_model_of_some_projects_does_not_exist_for_the_others() -> None:
    entries = [("secret", remote, None), ("talker", talker, None)]
    models = Models(entries, [("nick", "secret")], projects={"secret": ("proj_a", "proj_b")})
    assert models.seen_by("proj_a") is models
    assert models.seen_by("proj_b").resolve("nick") == (remote, "secret")
    others = models.seen_by("proj_c")
    assert others.resolve("talker") == (talker, "talker")
    for name in ("secret", "nick"):
        with pytest.raises(NotFound):
            others.resolve(name)
    assert models.seen_by("proj_d") is others


def test_a_kind_that_nobody_offers() -> None:
    with pytest.raises(NotFound, match="no model that does this is set up"):
        Models([("talker", talker, None)]).resolve("dall-e-3", "draw")


@pytest.mark.parametrize("name", ["gpt-5", "", "GPT-4O"])
def test_a_model_nobody_serves(name: str) -> None:
    with pytest.raises(NotFound) as caught:
        Models([("gpt-4o", remote, None)]).resolve(name)
    assert caught.value.message.startswith(f"The model `{name}` does not exist or you do not have access to it.")
    assert f"EVERLOOM_ALIASES='{name}=gpt-4o'" in caught.value.message
    assert (caught.value.status, caught.value.param, caught.value.code) == (404, "model", "model_not_found")


def test_the_list_merges_what_everybody_serves(served: UpstreamBackend) -> None:
    models = Models(
        [("smollm2-135m", local, None), ("gpt-4o*", served, None), ("mine", gone, "x")],
        [("gpt-4-turbo", "smollm2-135m"), ("old-*", "smollm2-135m"), ("dead", "nowhere")],
    )
    assert asyncio.run(listed(models)) == ["smollm2-135m", "mine", "gpt-4o", "gpt-4o-mini", "gpt-4-turbo"]


def test_the_default_adds_all_it_has(served: UpstreamBackend) -> None:
    models = Models([("smollm2-135m", local, None)], default=served)
    assert asyncio.run(listed(models)) == ["smollm2-135m", "gpt-4o", "gpt-4o-mini", "o1"]


def test_an_upstream_that_is_away_does_not_break_the_list() -> None:
    models = Models([("smollm2-135m", local, None)], default=gone)
    assert asyncio.run(listed(models)) == ["smollm2-135m"]


def test_get_by_name_alias_and_pattern(served: UpstreamBackend) -> None:
    models = Models([("gpt-4o*", served, None)], [("gpt-4-*", "gpt-4o")])
    for name in ("gpt-4o", "gpt-4-0613"):
        assert asyncio.run(got(models, name)) == Model(id=name, created=1_700_000_000, owned_by="scripted")


def test_get_asks_the_default_what_it_has(served: UpstreamBackend) -> None:
    models = Models([], default=served)
    assert asyncio.run(got(models, "o1")).owned_by == "scripted"
    with pytest.raises(NotFound):
        asyncio.run(got(models, "o2"))


def test_a_backend_of_many_names_is_opened_once(served: UpstreamBackend) -> None:
    models = Models([("a", served, None), ("b", served, None)], default=served)
    # A second open would leave the first pool of connections behind unclosed, which is an error here.
    assert asyncio.run(listed(models)) == ["a", "b", "gpt-4o", "gpt-4o-mini", "o1"]
    with pytest.raises(RuntimeError, match="not open"):
        asyncio.run(served.chat({"model": "a", "messages": []}))


def test_which_names_are_known(served: UpstreamBackend) -> None:
    entries = [("exact", remote, None), ("fixed-*", remote, "one"), ("gone/*", gone, None)]
    models = Models(entries, [("old-*", "gpt-9"), ("nick", "gpt-8")], default=served)

    async def known(name: str) -> bool:
        return await models.knows(models.find(name, None))

    async def main() -> list[str]:
        await models.open()
        try:
            names = (
                "exact",
                "fixed-1",
                "old-1",
                "nick",
                "gpt-8",
                "gpt-9",
                "gpt-4o",
                "GPT-4o:latest",
                "gpt-7",
                "gone/1",
            )
            return [name for name in names if not await known(name)]
        finally:
            await models.close()

    assert asyncio.run(main()) == ["gpt-7", "gone/1"]


def test_what_was_listed_once_stays_known() -> None:
    async def main() -> None:
        with ScriptedUpstream(models=("gpt-4o",)) as upstream:
            backend = UpstreamBackend(upstream.url)
            models = Models([], default=backend)
            await models.open()
            assert await models.knows(models.find("gpt-4o", None))
        assert await models.knows(models.find("gpt-4o", None))
        assert not await models.knows(models.find("gpt-5", None))
        await models.close()

    asyncio.run(main())
