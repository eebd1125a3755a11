"""What becomes of a request to a model: one record, at its real end, for whoever asked."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from everloom.context import Context
from everloom.context.bound_models import NoCompletions
from everloom.context.metering import UsageRecord
from everloom.kit.errors import ApiError, ModelFailure, NotFound
from everloom.models.base import Form, FormFile
from everloom.models.embedding_format import encoded
from everloom.models.registry import Models
from everloom.models.upstream.backend import UpstreamBackend
from everloom.objects.tools import EstimatedUsage
from everloom.work.inference import completions
from tests.asking import CALLER, Ledger, asking
from tests.replies import Breaks, Fails, Garbage, Hangs, Reply, Says, Slow
from tests.scripted import ScriptedUpstream

HELLO: dict[str, Any] = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hello!"}]}
STREAM = HELLO | {"stream": True}
SPEECH: dict[str, Any] = {"model": "tts", "input": "Hello.", "voice": "alloy"}


class Narrow(UpstreamBackend):
    """A server that is asked for one thing at a time."""

    max_concurrency: int | None = 1


def recorded(
    scenario: Callable[[Context, ScriptedUpstream], Awaitable[None]], *replies: Reply, narrow: bool = False
) -> list[UsageRecord]:
    """The records of all that is asked in ``scenario``."""
    ledger = Ledger()

    async def main() -> None:
        with ScriptedUpstream() as upstream:
            upstream.script(*replies)
            backend = (Narrow if narrow else UpstreamBackend)(upstream.url, retries=0)
            models = Models([("gpt-4o", backend, None), ("tts", backend, None)], [("gpt-4", "gpt-4o")])
            await models.open()
            try:
                await scenario(asking(models, ledger), upstream)
            finally:
                await models.close()

    asyncio.run(main())
    return ledger.records


def only(records: list[UsageRecord]) -> UsageRecord:
    (record,) = records
    assert record.caller == CALLER
    return record


async def read(ctx: Context, body: dict[str, Any]) -> None:
    async with ctx.ask("chat", body["model"]) as model:
        answer = await model.chat(body)
    try:
        async for _ in answer.blocks():
            pass
    finally:
        await answer.close()
        await answer.close()


@pytest.mark.parametrize("body", [HELLO, STREAM], ids=["whole", "streamed"])
def test_an_answer_that_is_read_to_its_end(body: dict[str, Any]) -> None:
    usage = {"stream_options": {"include_usage": True}} if body.get("stream") else {}
    record = only(recorded(lambda ctx, _: read(ctx, body | usage), Says("one two three", prompt_tokens=11)))
    assert (record.capability, record.model, record.outcome) == ("chat", "gpt-4o", "completed")
    assert record.usage is not None
    assert (record.usage.prompt_tokens, record.usage.completion_tokens) == (11, 3)
    assert not isinstance(record.usage, EstimatedUsage)


def test_a_stream_that_is_left_in_the_middle() -> None:
    async def leave(ctx: Context, upstream: ScriptedUpstream) -> None:
        async with ctx.ask("chat", "gpt-4") as model:
            answer = await model.chat(STREAM)
        async for _ in answer.blocks():
            break
        await asyncio.gather(answer.close(), answer.close())
        assert await asyncio.to_thread(upstream.wait, lambda: len(upstream.disconnects) == 1)

    record = only(recorded(leave, Slow(0.05, Says("word " * 1000))))
    assert record.outcome == "closed"
    assert isinstance(record.usage, EstimatedUsage)


def test_one_who_leaves_before_the_first_word() -> None:
    async def leave(ctx: Context, upstream: ScriptedUpstream) -> None:
        task = asyncio.create_task(read(ctx, STREAM))
        assert await asyncio.to_thread(upstream.wait, lambda: bool(upstream.requests))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    assert only(recorded(leave, Hangs())).outcome == "closed"


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Fails(400), "refused"),
        (Fails(429), "refused"),
        (Fails(500), "failed"),
        (Breaks(), "failed"),
        (Breaks(2), "failed"),
    ],
    ids=str,
)
def test_what_is_refused_or_fails(reply: Reply, outcome: str) -> None:
    async def ask(ctx: Context, _: ScriptedUpstream) -> None:
        with pytest.raises(ApiError):
            await read(ctx, STREAM)

    assert only(recorded(ask, reply)).outcome == outcome


def test_an_answer_that_is_no_json() -> None:
    async def ask(ctx: Context, _: ScriptedUpstream) -> None:
        async with ctx.ask("chat", "gpt-4") as model:
            answer = await model.chat(HELLO)
        with pytest.raises(ModelFailure):
            await answer.whole()
        await answer.close()

    assert only(recorded(ask, Garbage())).outcome == "failed"


def test_nothing_is_recorded_where_nothing_is_asked() -> None:
    async def look(ctx: Context, upstream: ScriptedUpstream) -> None:
        async with ctx.ask("chat", "gpt-4") as model:
            assert (model.name, model.backend_model) == ("gpt-4", "gpt-4o")
            assert (await model.traits()).context_window > 0
            assert await model.count(HELLO) > 0
        with pytest.raises(NotFound):
            async with ctx.ask("chat", "gpt-7"):
                raise AssertionError("there is no such model")
        assert upstream.requests == []

    assert recorded(look) == []


def test_vectors_and_judgements() -> None:
    async def ask(ctx: Context, upstream: ScriptedUpstream) -> None:
        async with ctx.ask("embed", "gpt-4") as model:
            await model.embed({"model": "gpt-4", "input": "a text"})
        upstream.serve("/moderations", lambda _: web.Response(body=b"{}", content_type="application/json"))
        async with ctx.ask("moderate", "gpt-4") as judge:
            with pytest.raises(ModelFailure):
                await judge.moderate({"model": "gpt-4", "input": "a text"})

    embedded, judged = recorded(ask)
    assert (embedded.capability, embedded.outcome) == ("embed", "completed")
    assert embedded.usage is not None
    assert (judged.capability, judged.outcome, judged.usage) == ("moderate", "failed", None)


ODD: list[dict[str, Any]] = [{"input_tokens": 7.0, "total_tokens": "7"}, {"prompt_tokens": 7}, {"total_tokens": 7}]


@pytest.mark.parametrize("told", ODD)
def test_what_vectors_and_pictures_cost_is_read_in_any_form(told: dict[str, Any]) -> None:
    usage = told | {"input_tokens_details": {"cached_tokens": 10**9}}
    _, embedded = encoded(json.dumps({"data": [{"embedding": [0.5]}], "usage": usage}).encode(), None)
    images = {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": usage}

    async def ask(ctx: Context, upstream: ScriptedUpstream) -> None:
        upstream.serve("/images/generations", lambda _: web.json_response(images))
        async with ctx.ask("draw", "gpt-4") as model:
            answer = await model.generate({"model": "gpt-4", "prompt": "An otter"})
        await answer.whole()
        await answer.close()

    record = only(recorded(ask))
    assert record.outcome == "completed"
    for _ in range(2):
        assert record.usage is not None
        assert record.details is not None
        assert (record.usage.prompt_tokens, record.details.cached) == (7, 7)
        record.believe(embedded)


def test_a_server_without_completions_is_asked_once_and_each_chat_recorded() -> None:
    tried: list[str] = []

    def none(request: web.Request) -> web.Response:
        tried.append(request.path)
        return web.json_response({"detail": "Not Found"}, status=404)

    async def ask(ctx: Context, upstream: ScriptedUpstream) -> None:
        upstream.serve("/completions", none)
        for _ in range(2):
            answer = await completions.ask(ctx, {"model": "gpt-4", "prompt": "Once upon a time"})
            assert await answer.whole()
            await answer.close()
        async with ctx.ask("complete", "gpt-4") as model:
            with pytest.raises(NoCompletions):
                await model.complete({"model": "gpt-4", "prompt": "Once upon a time"})
        assert len(tried) == 1

    records = recorded(ask)
    assert [(record.capability, record.outcome) for record in records] == [("chat", "completed")] * 2


TOKENS = {"input_tokens": 14, "input_token_details": {"audio_tokens": 12}, "output_tokens": 5, "total_tokens": 19}
TRANSCRIPTS = [
    ({"text": "Hello."}, None, None),
    ({"text": "Hello.", "usage": {"type": "duration", "seconds": 2}}, 2.0, None),
    ({"text": '"usage": {"input_tokens": 1}', "usage": {"type": "tokens"} | TOKENS}, None, (14, 5, 12)),
]


@pytest.mark.parametrize(("transcript", "seconds", "tokens"), TRANSCRIPTS)
def test_a_transcription_is_counted_as_its_model_is_paid(
    transcript: dict[str, Any], seconds: float | None, tokens: tuple[int, int, int] | None, tmp_path: Path
) -> None:
    sound = tmp_path / "a.wav"
    sound.write_bytes(b"RIFFsound")
    file = FormFile(field="file", filename="a.wav", content_type="audio/wav", path=sound, size=9)
    form = Form(fields=(("model", "gpt-4o"),), files=(file,))

    async def ask(ctx: Context, upstream: ScriptedUpstream) -> None:
        upstream.serve("/audio/transcriptions", lambda _: web.json_response(transcript))
        async with ctx.ask("transcribe", "gpt-4o") as model:
            answer = await model.transcribe(form)
        await answer.whole()
        await answer.close()

    record = only(recorded(ask))
    assert record.audio_seconds == seconds
    assert (record.usage is None) is (record.details is None) is (tokens is None)
    if record.usage is not None and record.details is not None:
        assert (record.usage.prompt_tokens, record.usage.completion_tokens, record.details.heard) == tokens


def test_a_picture_that_is_streamed_tells_its_tokens_at_the_end() -> None:
    events = [
        {"type": "image_generation.partial_image", "b64_json": "A" * 9000},
        {
            "type": "image_generation.completed",
            "b64_json": "B" * 9000,
            "usage": {"input_tokens": 7, "output_tokens": 272},
        },
    ]
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)

    async def ask(ctx: Context, upstream: ScriptedUpstream) -> None:
        upstream.serve("/images/generations", lambda _: web.Response(body=stream, content_type="text/event-stream"))
        async with ctx.ask("draw", "gpt-4o") as model:
            answer = await model.generate({"model": "gpt-4o", "prompt": "An otter", "stream": True})
        async for _ in answer.blocks():
            pass
        await answer.close()

    record = only(recorded(ask))
    assert record.images == 1
    assert record.usage is not None
    assert (record.usage.prompt_tokens, record.usage.completion_tokens) == (7, 272)


# --- turns -----------------------------------------------------------------------------------------------------------


def speaks(upstream: ScriptedUpstream, media: str = "audio/wav") -> None:
    upstream.serve("/audio/speech", lambda _: web.Response(body=b"RIFFsound", content_type=media))


async def free(ctx: Context) -> bool:
    """Whether the caller's one turn can be had."""
    try:
        async with asyncio.timeout(0.2), ctx.ask("speak", "tts"):
            return True
    except TimeoutError:
        return False


def test_an_answer_keeps_the_turn_until_it_is_closed() -> None:
    async def ask(ctx: Context, upstream: ScriptedUpstream) -> None:
        speaks(upstream)
        async with ctx.ask("speak", "tts") as model:
            assert not await free(ctx)
            answer = await model.speak(SPEECH)
        assert not await free(ctx)
        assert b"".join([block async for block in answer.blocks()]) == b"RIFFsound"
        await answer.close()
        assert await free(ctx)

    record = only(recorded(ask, narrow=True))
    assert (record.outcome, record.characters) == ("completed", len(SPEECH["input"]))


def test_the_turn_is_over_where_no_answer_came() -> None:
    async def ask(ctx: Context, upstream: ScriptedUpstream) -> None:
        async with ctx.ask("speak", "tts"):
            pass
        speaks(upstream, "text/html")
        for _ in range(2):
            with pytest.raises(ModelFailure):
                async with ctx.ask("speak", "tts") as model:
                    await model.speak(SPEECH)
        upstream.serve("/audio/speech", lambda _: web.json_response({"error": {"message": "no"}}, status=400))
        with pytest.raises(ApiError):
            async with ctx.ask("speak", "tts") as model:
                await model.speak(SPEECH)
        assert await free(ctx)

    records = recorded(ask, narrow=True)
    assert [(record.outcome, record.characters) for record in records] == [
        ("failed", None),
        ("failed", None),
        ("refused", None),
    ]
