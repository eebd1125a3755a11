"""What a run puts before its model: the same whether all of a thread is read or its end, and of a long one its end."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.models.registry import Models
from everloom.models.upstream.backend import UpstreamBackend
from everloom.objects.base import JsonObject
from everloom.objects.messages import (
    FilePath,
    FilePathTarget,
    ImageUrl,
    ImageUrlContent,
    Message,
    Text,
    TextContent,
)
from everloom.objects.runs import Generation
from everloom.objects.steps import MessageCreation, MessageReference, RunStep
from everloom.objects.threads import Thread
from everloom.objects.tools import TruncationStrategy, Usage
from everloom.store.base import Add
from everloom.work.runs import prompt
from everloom.work.runs.history import content_of, read_again
from everloom.work.runs.prompt import PromptTooLong, build, rebuild
from everloom.work.runs.state import RunState
from tests.scripted import ScriptedUpstream
from tests.store.things import a_message, a_run
from tests.work.test_ingest import a_server
from tests.work.test_run_rounds import CountingDatabase


async def built_of_all(ctx: Context, state: RunState) -> list[JsonObject]:
    """The prompt's messages as they were made when all of a thread was read."""
    run = state.run
    async with ctx.ask("chat", run.model) as model:
        traits = await model.traits()
        body = prompt._options(state, traits)
        said: dict[str, JsonObject] = {}
        history: list[JsonObject] = []
        for message in await ctx.store.all(Message, thread_id=run.thread_id):
            turn = {"role": message.role, "content": await content_of(ctx, message)}
            if message.run_id == run.id:
                said[message.id] = turn
            elif turn["content"]:
                history.append(turn)
        own = prompt._own(state, said, {})
        if (last := run.truncation_strategy.last_messages) is not None:
            history = history[-last:]
        room = prompt._room(run, state.generations, traits.context_window, body)
        system = [{"role": "system", "content": run.instructions}] if run.instructions else []
        left = room.tokens * 12
        for position in range(len(history) - 1, -1, -1):
            left -= len(str(history[position]["content"]))
            if left < 0:
                history = history[min(position + 1, len(history) - 1) :]
                break
        for count in range(len(history), -1, -1):
            fitting = history[len(history) - count :]
            if await model.count({**body, "messages": [*system, *fitting, *own]}) <= room.tokens:
                if history and not fitting:
                    break
                return [*system, *fitting, *own]
    raise PromptTooLong("", budget=room.budget)


def a_text(chance: random.Random) -> str:
    return chance.choice(("rain ", "снег ", "雨", "x")) * chance.choice((0, 1, 3, 10, 40, 400))


def some_messages(thread_id: str, chance: random.Random) -> list[Message]:
    messages = []
    for _ in range(chance.choice((0, 1, 5, 40, 230))):
        message = a_message(thread_id, a_text(chance), role=chance.choice(("user", "assistant")))
        if chance.random() < 0.05:
            message.content.append(ImageUrlContent(image_url=ImageUrl(url="https://example.com/a.png")))
        messages.append(message)
    return messages


async def a_state(ctx: Context, chance: random.Random) -> RunState:
    """A run on a thread with messages, which may have said something itself, and has spent something."""
    thread = Thread(id=new_id("thread_"), created_at=now())
    run = a_run(thread.id, instructions=chance.choice((None, "Be brief.", "Be brief. " * 40)))
    if chance.random() < 0.4:
        last = chance.choice((1, 2, 17, 100, 101, 5000))
        run.truncation_strategy = TruncationStrategy(type="last_messages", last_messages=last)
    if chance.random() < 0.4:
        run.max_prompt_tokens = chance.choice((30, 200, 2000, 100_000))
    if chance.random() < 0.3:
        run.max_completion_tokens = chance.choice((16, 300))
    messages = some_messages(thread.id, chance)
    steps, generations = [], []
    for _ in range(chance.choice((0, 0, 1, 3))):
        said = a_message(thread.id, a_text(chance), role="assistant", run_id=run.id)
        details = MessageCreation(message_creation=MessageReference(message_id=said.id))
        step = RunStep(
            id=new_id("step_"), created_at=now(), run_id=run.id, assistant_id=run.assistant_id, thread_id=thread.id,
            type="message_creation", status=chance.choice(("completed", "completed", "failed")), step_details=details,
        )  # fmt: skip
        steps.append(step)
        usage = Usage(prompt_tokens=5, completion_tokens=5, total_tokens=10)
        spent = Generation(
            id=new_id("gen_"), created_at=now(), run_id=run.id, step_id=step.id, model=run.model, usage=usage,
            finish_reason="stop",
        )  # fmt: skip
        generations.append(spent)
        # Where clocks differ, it may stand before what the user has said.
        messages.insert(len(messages) if chance.random() < 0.7 else chance.randrange(len(messages) + 1), said)
    await ctx.store.write(Add(thread), *(Add(message, rank=rank) for rank, message in enumerate(messages, 1)))
    return RunState(run, steps, generations, [])


def with_window(ctx: Context, upstream: ScriptedUpstream, window: int) -> Context:
    models = Models([], default=UpstreamBackend(upstream.url, context_window=window))
    return Context.of(msgspec.structs.replace(ctx.ports, models=models), ctx.project)


async def built(ctx: Context, state: RunState) -> list[JsonObject]:
    """The prompt's messages, which what is kept of the prompt has made again."""
    found = await build(ctx, state)
    standing = await read_again(ctx, state, found.sent)
    assert rebuild(state, found.sent, standing.turns, standing.said) == found.body
    messages: list[JsonObject] = found.body["messages"]
    return messages


async def outcome(building: Awaitable[list[JsonObject]]) -> list[JsonObject] | str:
    """The messages, or why there are none."""
    try:
        return await building
    except PromptTooLong as refused:
        return f"too long for {refused.budget}"


@pytest.mark.parametrize("window", [60, 900, 20_000, 128_000])
def test_the_same_as_if_all_was_read(window: int, tmp_path: Path) -> None:
    async def main() -> Counter[str]:
        outcomes: Counter[str] = Counter()
        with ScriptedUpstream() as upstream:
            async with a_server(tmp_path, upstream) as served:
                ctx = with_window(served, upstream, window)
                for seed in range(40):
                    state = await a_state(ctx, random.Random(f"{window} {seed}"))
                    expected = await outcome(built_of_all(ctx, state))
                    assert await outcome(built(ctx, state)) == expected, f"seed {seed}"
                    thread = await ctx.store.all(Message, thread_id=state.run.thread_id)
                    whole = isinstance(expected, list) and len(expected) >= len(thread)
                    outcomes["too long" if isinstance(expected, str) else "whole" if whole else "cut"] += 1
        return outcomes

    outcomes = asyncio.run(main())
    assert outcomes["whole"] > 3, outcomes
    assert outcomes["too long"] + outcomes["cut"] > 3, outcomes


def test_of_a_long_thread_the_end_is_read(tmp_path: Path) -> None:
    """So many pages as the window has room for, or as the run's caller wants, however many there are."""

    async def main() -> None:
        with ScriptedUpstream() as upstream:
            async with a_server(tmp_path, upstream) as served:
                ctx = with_window(served, upstream, 2000)
                thread = Thread(id=new_id("thread_"), created_at=now())
                texts = [f"message {number}" for number in range(5000)]
                await ctx.store.write(Add(thread), *(Add(a_message(thread.id, text)) for text in texts))
                for strategy, last, pages in (("auto", None, 2), ("last_messages", 7, 1), ("last_messages", 101, 2)):
                    run = a_run(thread.id, instructions=None)
                    run.truncation_strategy = TruncationStrategy(type=strategy, last_messages=last)  # type: ignore[arg-type]
                    counting: Any = CountingDatabase(ctx.ports.database)
                    counted = Context.of(msgspec.structs.replace(ctx.ports, database=counting), ctx.project)
                    found = await build(counted, RunState(run, [], [], []))
                    said = [message["content"] for message in found.body["messages"]]
                    assert said == texts[-len(said) :]
                    assert len(said) == last or (last is None and len(said) > 150)
                    assert counting.reads == {Message: pages}

    asyncio.run(main())


def test_files_linked_to_of_late_may_be_linked_to_again(tmp_path: Path) -> None:
    async def main() -> None:
        with ScriptedUpstream() as upstream:
            async with a_server(tmp_path, upstream) as ctx:
                thread = Thread(id=new_id("thread_"), created_at=now())
                messages = []
                for file_id in ("file-1", "file-2"):
                    target = FilePathTarget(file_id=file_id)
                    link = FilePath(text="sandbox:/mnt/data/a", file_path=target, start_index=0, end_index=19)
                    text = Text(value="sandbox:/mnt/data/a", annotations=[link])
                    message = a_message(thread.id, role="assistant")
                    messages.append(msgspec.structs.replace(message, content=[TextContent(text=text)]))
                await ctx.store.write(Add(thread), *map(Add, messages), Add(a_message(thread.id, "again")))
                found = await build(ctx, RunState(a_run(thread.id, instructions=None), [], [], []))
                assert [source.file_id for source in found.sources] == ["file-1", "file-2"]

    asyncio.run(main())
