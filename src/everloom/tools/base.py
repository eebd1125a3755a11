"""The tools' port: how a tool is offered to a model, how a call to it grows, what it needs, and what it does.

A tool that this server answers stands in one file: a ``BuiltInTool``. What it may do to a run it is handed as a
``ToolExecution``; it knows nothing of how runs are kept.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from msgspec import Struct

from everloom.context import Context
from everloom.objects.base import JsonObject
from everloom.objects.chat import ChatChunk
from everloom.objects.files import File
from everloom.objects.runs import Run, Source, ToolWork
from everloom.objects.steps import CallDelta, StepCall
from everloom.objects.threads import Thread
from everloom.objects.vector_stores import SearchResult
from everloom.sandbox.base import Session


class ToolFailure(Exception):
    """A tool that cannot do its work; the run fails with this text."""


class Draft(Protocol):
    """One call to a tool, growing as the model writes its arguments."""

    id: str

    def begin(self, index: int) -> CallDelta:
        """The delta that opens the call; ``index`` is its place among the calls of its step."""
        ...

    def grow(self, index: int, piece: str) -> CallDelta | None:
        """The delta for more of the arguments; None when there is nothing to show yet."""
        ...

    def whole(self) -> StepCall:
        """The call as the step keeps it, once the arguments have ended; without any output."""
        ...

    @property
    def arguments(self) -> str:
        """The arguments as the model wrote them."""
        ...


class ToolHost(Protocol):
    """What a server does for the tools of one run."""

    @property
    def ctx(self) -> Context: ...

    @property
    def run(self) -> Run: ...

    async def thread(self) -> Thread:
        """The thread that the run answers, as it stands now."""
        ...

    async def wait_for_stores(self, thread: Thread, store_ids: Sequence[str]) -> None:
        """Wait for the thread's own vector store and the assistant's own files, a minute at most. Errors: ``ApiError``
        where one of these stores has expired.
        """
        ...

    async def search(
        self, store_ids: Sequence[str], query: str, *, limit: int, score_threshold: float
    ) -> list[SearchResult]:
        """The passages of these vector stores that answer ``query`` best, best first."""
        ...

    async def keep_file(self, name: str, blocks: AsyncIterator[bytes]) -> File:
        """A file that a tool made, kept before anybody is told of it."""
        ...

    def read_file(self, file: File) -> AsyncIterator[bytes]:
        """A file's bytes, in blocks. Errors: ``FileNotFoundError``; ``DamagedBlob`` where they are not those that were
        kept, which may be told behind the last of them.
        """
        ...

    def sandbox(self) -> AbstractAsyncContextManager[Session]:
        """The thread's sandbox, for one call at a time. Errors: ``SandboxUnavailable``."""
        ...

    def seconds_left(self) -> float:
        """How long the run may still take."""
        ...


class ToolExecution(ToolHost, Protocol):
    """One call, while a tool answers it.

    ``call`` is the call as it stands in the step, at ``index``, ``arguments`` what the model wrote. ``again`` says
    that it was under way once before, when its process died. ``ordinal`` counts the run's calls to this server's
    tools from 1: marks hold it, so that those of two searches differ.
    """

    @property
    def call(self) -> StepCall: ...

    @property
    def index(self) -> int: ...

    @property
    def arguments(self) -> str: ...

    @property
    def ordinal(self) -> int: ...

    @property
    def again(self) -> bool: ...

    def tell(self, delta: CallDelta) -> None:
        """Tell more of the call to whoever follows the run."""
        ...


class Outcome(Struct, frozen=True):
    """What came of a call: ``call`` as its step keeps it, ``output`` for the model, ``sources`` that it may cite."""

    call: StepCall
    output: str
    sources: list[Source]


class AnswerReader(Protocol):
    """Turns the chunks of an answer that was asked for in a tool's own form into those of a plain one."""

    done: bool
    """Whether the rest of the answer need not be waited for."""
    pieces: int
    """Chunks so far: a local model sends a token in each."""

    def take(self, chunk: ChatChunk) -> ChatChunk:
        """The chunk as the caller is to see it."""
        ...


class Tool(Protocol):
    """One kind of tool (``type`` as the reference names it)."""

    type: str

    def offer(self, tool: Any) -> JsonObject:
        """The tool as a chat completion request names it."""
        ...

    def draft(self, id: str, name: str) -> Draft:
        """A call that a model has begun."""
        ...


class BuiltInTool(Tool, Protocol):
    """A tool that this server answers itself; ``name`` is the function under which a model calls it.

    What stands behind ``run`` is for models that were not trained to call tools. They are never offered this one:
    they are shown what it brought, or asked for words that are read as a call to it.
    """

    name: str
    opens_runs: bool = False
    """Whether a run may begin with a call to it, by ``first_call``."""

    async def ready(self, host: ToolHost) -> None:
        """Wait for what calls will need, before the model is asked. Errors: ``ToolFailure`` when it will not come."""
        ...

    async def run(self, execution: ToolExecution) -> Outcome:
        """Answer one call. Errors: ``ToolFailure``."""
        ...

    def first_call(self, id: str, question: str) -> Draft | None:
        """A call made before the model's first word, of the user's last message; None where that asks for nothing."""
        return None

    def show(self, body: JsonObject, messages: list[JsonObject], works: Sequence[ToolWork]) -> AnswerReader | None:
        """Put what calls have brought into the conversation; how the answer is to be read, if not as it comes."""
        return None

    def invite(self, messages: list[JsonObject], *, forced: bool) -> AnswerReader | None:
        """How an answer becomes a call where none has been made yet; ``forced``: the caller wants one."""
        return None


def last_question(messages: Sequence[JsonObject]) -> str | None:
    """The text that the user asked last, where a conversation ends with it."""
    if not messages or messages[-1]["role"] != "user" or not isinstance(messages[-1]["content"], str):
        return None
    question: str = messages[-1]["content"]
    return question


def add_instruction(messages: list[JsonObject], text: str) -> None:
    """Say something behind the system's text, or in its place where there is none."""
    if messages and messages[0]["role"] == "system" and isinstance(system := messages[0]["content"], str):
        messages[0] = messages[0] | {"content": f"{system}\n\n{text}"}
    else:
        messages.insert(0, {"role": "system", "content": text})


def function_of_text(name: str, description: str, argument: str, meaning: str) -> JsonObject:
    """A function of one text, ``argument``, as a chat completion request offers it."""
    parameters = {
        "type": "object",
        "properties": {argument: {"type": "string", "description": meaning}},
        "required": [argument],
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}
