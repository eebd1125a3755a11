"""From a thread and a run to the messages a model reads, cut to what fits."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct

from everloom.context import Context
from everloom.kit.clock import now
from everloom.models.base import Traits
from everloom.models.tokens import MESSAGE_TOKENS, estimate, estimate_content
from everloom.objects.base import JsonObject
from everloom.objects.runs import Generation, Run, SentPrompt, Source, ToolWork
from everloom.objects.steps import FunctionStepCall, MessageCreation, RunStep, ToolCalls
from everloom.objects.tools import ResponseFormat
from everloom.tools.base import AnswerReader
from everloom.tools.registry import choice, offers
from everloom.work.runs.history import CHARACTERS_A_TOKEN, Fill, Fits, History, read_history
from everloom.work.runs.prompted_tools import guide
from everloom.work.runs.state import RunState

ANSWER_SHARE = 4
"""Without a budget for the answer, a quarter of the context window is kept free for it."""

ANSWER_ROOM = 1024
"""… but no more than this many tokens."""


Budget = Literal["max_completion_tokens", "max_prompt_tokens"]
"""What a run may have set itself to spend."""


class PromptTooLong(Exception):
    """Not even the newest message fits into the run's own ``budget``, or into the model (None)."""

    def __init__(self, message: str, *, budget: Budget | None) -> None:
        super().__init__(message)
        self.budget = budget


class Prompt(Struct, frozen=True):
    """A request for a model. ``dropped`` messages did not fit, of those that were looked at; ``sources`` may be cited;
    ``reader`` reads an answer that ``runs/prompted_tools.py`` asked for in a form of its own; ``sent`` is what is kept
    of it."""

    body: JsonObject
    dropped: int
    sources: list[Source]
    reader: AnswerReader | None
    sent: SentPrompt


async def build(ctx: Context, state: RunState) -> Prompt:
    """The next request of a run. Errors: ``PromptTooLong``."""
    run = state.run
    async with ctx.ask("chat", run.model) as model:
        traits = await model.traits()
    body = _options(state, traits)
    room = _room(run, state.generations, traits.context_window, body)

    async def fits(messages: Sequence[JsonObject]) -> bool:
        async with ctx.ask("chat", run.model) as model:
            return await model.count({**body, "messages": [*_instructions(run), *messages]}) <= room.tokens

    history = await read_history(ctx, state, Fill(room.tokens, fits, most=_most(run)))
    kept, before = history.turns, len(history.turns)
    own, reader = _led(state, traits, body, kept, history.said)
    fitting = await _fit(run, body, kept, own, room, fits)
    body["messages"] = [*_instructions(run), *fitting, *own]
    sources = [*history.sources, *(source for work in state.works for source in work.sources)]
    sent = _sent(history, fitting, body, traits)
    return Prompt(body, max(0, before - len(fitting)), sources, reader, sent)


def rebuild(state: RunState, sent: SentPrompt, turns: Sequence[JsonObject], said: dict[str, JsonObject]) -> JsonObject:
    """The request again that a run in this state has ``sent``: by the code that made it, from those of its ``turns``
    and of what the run had ``said`` that still stand.
    """
    body, kept = _options(state, sent), [*turns]
    _limit_answer(state.run, state.generations, body)
    own, _ = _led(state, sent, body, kept, said)
    body["messages"] = [*_instructions(state.run), *kept[max(0, len(kept) - sent.turns) :], *own]
    return body


def _sent(history: History, fitting: list[JsonObject], body: JsonObject, traits: Traits) -> SentPrompt:
    ids = history.ids[max(0, len(history.ids) - len(fitting)) :] if fitting else []
    return SentPrompt(
        asked_at=now(),
        newest=ids[-1] if ids else "",
        oldest=ids[0] if ids else "",
        turns=len(fitting),
        messages=len(body["messages"]),
        whole=history.whole,
        chooses_tools=traits.chooses_tools,
        takes_effort=traits.takes_effort,
    )


def _led(
    state: RunState, traits: Traits | SentPrompt, body: JsonObject, kept: list[JsonObject], said: dict[str, JsonObject]
) -> tuple[list[JsonObject], AnswerReader | None]:
    """What the run itself has said and done; where it has not, and its model was not trained to call tools, ``kept``
    and ``body`` are made to lead it.
    """
    works = {work.call_id: work for work in state.works}
    own = _own(state, said, works if traits.chooses_tools else {})
    if traits.chooses_tools or own:
        return own, None
    return own, guide(state.run, body, kept, list(works.values()))


def _most(run: Run) -> int | None:
    """How many of the thread's newest messages the run's caller wants to be seen, None for all."""
    strategy = run.truncation_strategy
    return strategy.last_messages if strategy.type == "last_messages" else None


class _Room(Struct, frozen=True):
    tokens: int
    budget: Budget | None


def _room(run: Run, generations: list[Generation], window: int, body: JsonObject) -> _Room:
    """How many tokens the prompt may have; sets the answer's budget in ``body``."""
    left = _limit_answer(run, generations, body)
    room = window - (min(window // ANSWER_SHARE, ANSWER_ROOM) if left is None else min(left, window // 2))
    if run.max_prompt_tokens is not None:
        left = run.max_prompt_tokens - sum(generation.usage.prompt_tokens for generation in generations)
        if left < room:
            return _Room(left, budget="max_prompt_tokens")
    return _Room(room, budget=None)


def _limit_answer(run: Run, generations: list[Generation], body: JsonObject) -> int | None:
    """How many tokens the answer may have by the run's own budget, if it has one; ``body`` says so."""
    if run.max_completion_tokens is None:
        return None
    left = run.max_completion_tokens - sum(generation.usage.completion_tokens for generation in generations)
    if left <= 0:
        raise PromptTooLong("The run has no completion tokens left.", budget="max_completion_tokens")
    body["max_completion_tokens"] = left
    return left


async def _fit(
    run: Run, body: JsonObject, history: list[JsonObject], own: list[JsonObject], room: _Room, fits: Fits
) -> list[JsonObject]:
    """As many of the newest messages as fit, whole ones; what the run itself said always stays."""
    history = _plausible(history, room.tokens)

    async def count_fits(count: int) -> bool:
        return await fits([*history[len(history) - count :], *own])

    if await count_fits(len(history)):
        return history
    low, high = 0, len(history) - 1
    # What the estimate says comes first: an upstream counts by it. From there up in growing steps, then by halves.
    rest = estimate({**body, "messages": [*_instructions(run), *own]})
    middle, step, only_up = max(1, min(high, _estimated(history, room.tokens - rest))), 1, True
    while low < high:
        fitting = await count_fits(middle)
        low, high = (middle, high) if fitting else (low, middle - 1)
        only_up = only_up and fitting
        middle = min(high, low + step) if only_up else (low + high + 1) // 2
        step *= 2
    if low == 0 and (history or not await count_fits(0)):
        raise PromptTooLong(
            f"The thread's newest message does not fit into {room.tokens} tokens of prompt for '{run.model}'.",
            budget=room.budget,
        )
    return history[len(history) - low :]


def _estimated(history: list[JsonObject], tokens: int) -> int:
    """How many of the newest messages have room in so many tokens, by the estimate."""
    for count, turn in enumerate(reversed(history)):
        tokens -= MESSAGE_TOKENS + estimate_content(turn["content"])
        if tokens < 0:
            return count
    return len(history)


def _plausible(history: list[JsonObject], tokens: int) -> list[JsonObject]:
    """Leave out what cannot fit by its sheer length, so that a long thread is not counted in full."""
    left = tokens * CHARACTERS_A_TOKEN
    for position in range(len(history) - 1, -1, -1):
        left -= len(str(history[position].get("content")))
        if left < 0:
            return history[min(position + 1, len(history) - 1) :]
    return history


def _options(state: RunState, traits: Traits | SentPrompt) -> JsonObject:
    """The request without its messages. Who does not choose tools is given what a search found, not the search.

    What is as the reference's default has it stays unsaid, unless the run's caller named it: there are models that
    refuse the very word, and models with defaults of their own.
    """
    run, first = state.run, not state.generations
    body: JsonObject = {"model": run.model}
    for name, value in (("temperature", run.temperature), ("top_p", run.top_p)):
        if value != 1 or name in state.named:
            body[name] = value
    if run.reasoning_effort is not UNSET and traits.takes_effort:
        body["reasoning_effort"] = run.reasoning_effort
    if tools := offers(run.tools, chooses_tools=traits.chooses_tools):
        body["tools"] = tools
        if not run.parallel_tool_calls:
            body["parallel_tool_calls"] = False
        # A forced choice holds for the first answer alone: the model has called by then, and may speak.
        if run.tool_choice == "none" or (first and run.tool_choice != "auto"):
            body["tool_choice"] = choice(run.tool_choice)
    if (shape := _response_format(run.response_format)) is not None:
        body["response_format"] = shape
    return {name: value for name, value in body.items() if value is not None}


def _response_format(shape: ResponseFormat) -> Any:
    return None if shape == "auto" else msgspec.to_builtins(shape)


def _instructions(run: Run) -> list[JsonObject]:
    return [{"role": "system", "content": run.instructions}] if run.instructions else []


def _own(state: RunState, said: dict[str, JsonObject], works: dict[str, ToolWork]) -> list[JsonObject]:
    """What the run itself has said and done."""
    return [turn for step in state.steps if step.status == "completed" for turn in _turns(step, said, works)]


def _turns(step: RunStep, said: dict[str, JsonObject], works: dict[str, ToolWork]) -> list[JsonObject]:
    """A finished step as a model's conversation knows it."""
    details = step.step_details
    if isinstance(details, MessageCreation):
        turn = said.get(details.message_creation.message_id)
        return [turn] if turn and turn["content"] else []
    return _call_turns(details, works)


def _call_turns(details: ToolCalls, works: dict[str, ToolWork]) -> list[JsonObject]:
    """Calls and what came of them: the caller's outputs, or what this server's tools had to say."""
    asked: list[JsonObject] = []
    outputs: list[JsonObject] = []
    for call in details.tool_calls:
        if isinstance(call, FunctionStepCall):
            name, arguments, output = call.function.name, call.function.arguments, call.function.output or ""
        elif (work := works.get(call.id)) is not None:
            name, arguments, output = work.type, work.arguments, work.output
        else:
            continue
        function = {"name": name, "arguments": arguments}
        asked.append({"id": call.id, "type": "function", "function": function})
        outputs.append({"role": "tool", "tool_call_id": call.id, "content": output})
    return [{"role": "assistant", "content": None, "tool_calls": asked}, *outputs] if asked else []
