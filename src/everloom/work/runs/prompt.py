"""From a thread and a run to the messages a model reads, cut to what fits."""

import base64
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct

from everloom.blobs.base import DamagedBlob
from everloom.context import Context
from everloom.kit.errors import NotFound
from everloom.models.base import Traits
from everloom.objects.base import JsonObject
from everloom.objects.files import File
from everloom.objects.messages import FilePath, ImageFileContent, ImageUrlContent, Message, RefusalContent, TextContent
from everloom.objects.runs import Generation, Run, Source, ToolWork
from everloom.objects.steps import FunctionStepCall, MessageCreation, RunStep, ToolCalls
from everloom.objects.tools import ResponseFormat
from everloom.tools.base import AnswerReader
from everloom.tools.registry import choice, offers
from everloom.work.files.blobs import read_file
from everloom.work.runs.prompted_tools import guide
from everloom.work.runs.state import RunState

ANSWER_SHARE = 4
"""Without a budget for the answer, a quarter of the context window is kept free for it."""

ANSWER_ROOM = 1024
"""… but no more than this many tokens."""

CHARACTERS_A_TOKEN = 12
"""More characters than a token has on average in any language: what is past this cannot fit."""

MAX_IMAGE_BYTES = 20 * 1024 * 1024


Budget = Literal["max_completion_tokens", "max_prompt_tokens"]
"""What a run may have set itself to spend."""


class PromptTooLong(Exception):
    """Not even the newest message fits into the run's own ``budget``, or into the model (None)."""

    def __init__(self, message: str, *, budget: Budget | None) -> None:
        super().__init__(message)
        self.budget = budget


class Prompt(Struct, frozen=True):
    """A request for a model. ``dropped`` messages of the thread's beginning did not fit; ``sources`` may be cited;
    ``reader`` reads an answer that ``runs/prompted_tools.py`` asked for in a form of its own."""

    body: JsonObject
    dropped: int
    sources: list[Source]
    reader: AnswerReader | None


async def build(ctx: Context, state: RunState) -> Prompt:
    """The next request of a run. Errors: ``PromptTooLong``."""
    run = state.run
    async with ctx.ask("chat", run.model) as model:
        traits = await model.traits()
    body = _options(run, traits, first=not state.generations)
    works = {work.call_id: work for work in state.works}
    shown = {} if traits.chooses_tools else works
    messages = await ctx.store.all(Message, thread_id=run.thread_id)
    told = {id: work for id, work in works.items() if id not in shown}
    history, own = await _conversation(ctx, state, messages, told)
    strategy = run.truncation_strategy
    kept = history
    if strategy.type == "last_messages" and strategy.last_messages is not None:
        kept = history[-strategy.last_messages :]
    reader = None if traits.chooses_tools or own else guide(run, body, kept, list(shown.values()))
    room = _room(run, state.generations, traits.context_window, body)
    fitting = await _fit(ctx, run, body, kept, own, room)
    body["messages"] = [*_instructions(run), *fitting, *own]
    sources = [*_linked(messages), *(source for work in works.values() for source in work.sources)]
    return Prompt(body, len(history) - len(fitting), sources, reader)


class _Room(Struct, frozen=True):
    tokens: int
    budget: Budget | None


def _room(run: Run, generations: list[Generation], window: int, body: JsonObject) -> _Room:
    """How many tokens the prompt may have; sets the answer's budget in ``body``."""
    answer = min(window // ANSWER_SHARE, ANSWER_ROOM)
    if run.max_completion_tokens is not None:
        spent = sum(generation.usage.completion_tokens for generation in generations)
        left = run.max_completion_tokens - spent
        if left <= 0:
            raise PromptTooLong("The run has no completion tokens left.", budget="max_completion_tokens")
        body["max_completion_tokens"] = left
        answer = min(left, window // 2)
    room = window - answer
    if run.max_prompt_tokens is not None:
        left = run.max_prompt_tokens - sum(generation.usage.prompt_tokens for generation in generations)
        if left < room:
            return _Room(left, budget="max_prompt_tokens")
    return _Room(room, budget=None)


async def _fit(
    ctx: Context, run: Run, body: JsonObject, history: list[JsonObject], own: list[JsonObject], room: _Room
) -> list[JsonObject]:
    """As many of the newest messages as fit, whole ones; what the run itself said always stays."""
    history = _plausible(history, room.tokens)

    async def fits(count: int) -> bool:
        kept = history[len(history) - count :]
        messages = [*_instructions(run), *kept, *own]
        async with ctx.ask("chat", run.model) as model:
            return await model.count({**body, "messages": messages}) <= room.tokens

    if await fits(len(history)):
        return history
    low, high = 0, len(history) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if await fits(middle) else (low, middle - 1)
    if low == 0 and (history or not await fits(0)):
        raise PromptTooLong(
            f"The thread's newest message does not fit into {room.tokens} tokens of prompt for '{run.model}'.",
            budget=room.budget,
        )
    return history[len(history) - low :]


def _plausible(history: list[JsonObject], tokens: int) -> list[JsonObject]:
    """Leave out what cannot fit by its sheer length, so that a long thread is not counted in full."""
    left = tokens * CHARACTERS_A_TOKEN
    for position in range(len(history) - 1, -1, -1):
        left -= len(str(history[position].get("content")))
        if left < 0:
            return history[min(position + 1, len(history) - 1) :]
    return history


def _options(run: Run, traits: Traits, *, first: bool) -> JsonObject:
    """The request without its messages. Who does not choose tools is given what a search found, not the search.

    What is as the reference's default has it stays unsaid: there are models that refuse the very word.
    """
    body: JsonObject = {"model": run.model}
    for name, value in (("temperature", run.temperature), ("top_p", run.top_p)):
        if value != 1:
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


async def _conversation(
    ctx: Context, state: RunState, messages: Sequence[Message], works: dict[str, ToolWork]
) -> tuple[list[JsonObject], list[JsonObject]]:
    """What stood in the thread before the run, and what the run itself has said and done."""
    said: dict[str, JsonObject] = {}
    history: list[JsonObject] = []
    for message in messages:
        turn: JsonObject = {"role": message.role, "content": await _content(ctx, message)}
        if message.run_id == state.run.id:
            said[message.id] = turn
        elif turn["content"]:
            history.append(turn)
    own: list[JsonObject] = []
    for step in state.steps:
        if step.status == "completed":
            own += _turns(step, said, works)
    return history, own


def _linked(messages: Sequence[Message]) -> list[Source]:
    """Files that earlier answers have linked to, which this one may link to again."""
    parts = [part for message in messages for part in message.content if isinstance(part, TextContent)]
    return [
        Source(mark=annotation.text, file_id=annotation.file_path.file_id)
        for part in parts
        for annotation in part.text.annotations
        if isinstance(annotation, FilePath)
    ]


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


async def _content(ctx: Context, message: Message) -> Any:
    """A message's content for a model: a plain string where it is only text, else parts."""
    parts: list[JsonObject] = []
    for part in message.content:
        if isinstance(part, TextContent):
            parts.append({"type": "text", "text": part.text.value})
        elif isinstance(part, RefusalContent):
            parts.append({"type": "text", "text": part.refusal})
        elif isinstance(part, ImageUrlContent):
            parts.append(msgspec.to_builtins(part))
        elif isinstance(part, ImageFileContent):
            parts.append(await _image(ctx, part, shown=message.role == "user"))
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


async def _image(ctx: Context, part: ImageFileContent, *, shown: bool) -> JsonObject:
    """An uploaded image, carried inside the request since an upstream cannot fetch it from here.

    Not ``shown`` but named is what an assistant brought: models take pictures from users alone. One that is gone by now
    is named too, or its thread could never be answered again.
    """
    file_id = part.image_file.file_id
    try:
        file = await ctx.store.get(File, file_id)
        if not shown:
            return _note(f"[image {file.filename}]")
        if file.bytes > MAX_IMAGE_BYTES:
            return _note(f"[image {file.filename} left out: larger than 20 MB]")
        data = b"".join([block async for block in read_file(ctx, file)])
    except DamagedBlob:
        return _note(f"[image {file_id} left out: it is damaged]")
    except (NotFound, FileNotFoundError):
        return _note(f"[image {file_id} left out: it was deleted]")
    url = f"data:{_image_type(data)};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url, **_detail(part)}}


def _note(text: str) -> JsonObject:
    return {"type": "text", "text": text}


def _detail(part: ImageFileContent) -> JsonObject:
    return {} if part.image_file.detail is UNSET else {"detail": part.image_file.detail}


def _image_type(data: bytes) -> str:
    """Told by the first bytes, since a file's name may say anything."""
    if data.startswith(b"GIF8"):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
