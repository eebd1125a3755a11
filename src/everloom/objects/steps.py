"""Run steps: what a run did, in order (RunStepObject, RunStepDeltaObject)."""

from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from everloom.objects.base import Metadata, Object
from everloom.objects.tools import RankingOptions, Usage


class MessageReference(Struct, kw_only=True):
    message_id: str


class MessageCreation(Struct, kw_only=True, tag="message_creation"):
    message_creation: MessageReference


class FunctionOutcome(Struct, kw_only=True):
    """A function call and, once the caller has run it, its output."""

    name: str
    arguments: str
    output: str | None = None


class FunctionStepCall(Struct, kw_only=True, tag="function"):
    id: str
    function: FunctionOutcome


class Logs(Struct, kw_only=True, tag="logs"):
    logs: str


class ImageReference(Struct, kw_only=True):
    file_id: str


class ImageOutput(Struct, kw_only=True, tag="image"):
    image: ImageReference


class CodeInterpreterOutcome(Struct, kw_only=True):
    input: str
    outputs: list[Logs | ImageOutput] = []


class CodeInterpreterStepCall(Struct, kw_only=True, tag="code_interpreter"):
    id: str
    code_interpreter: CodeInterpreterOutcome


class SearchText(Struct, kw_only=True):
    type: Literal["text"] = "text"
    text: str


class FileSearchResult(Struct, kw_only=True, omit_defaults=True):
    """One file found; ``content`` is shown only to callers that ask for it with ``include[]``."""

    file_id: str
    file_name: str
    score: float
    content: list[SearchText] | UnsetType = UNSET


class FileSearchOutcome(Struct, kw_only=True, omit_defaults=True):
    ranking_options: RankingOptions | UnsetType = UNSET
    results: list[FileSearchResult] | UnsetType = UNSET


class FileSearchStepCall(Struct, kw_only=True, tag="file_search"):
    id: str
    file_search: FileSearchOutcome


StepCall = FunctionStepCall | CodeInterpreterStepCall | FileSearchStepCall


Include = Literal["step_details.tool_calls[*].file_search.results[*].content"]
"""What ``include[]`` may name; anything else would be left out in silence."""


class ToolCalls(Struct, kw_only=True, tag="tool_calls"):
    tool_calls: list[StepCall] = []


StepDetails = MessageCreation | ToolCalls


class StepError(Struct, kw_only=True):
    code: Literal["server_error", "rate_limit_exceeded"]
    message: str


StepStatus = Literal["in_progress", "cancelled", "failed", "completed", "expired"]


class RunStep(Object, kw_only=True):
    object: Literal["thread.run.step"] = "thread.run.step"
    run_id: str
    assistant_id: str
    thread_id: str
    type: Literal["message_creation", "tool_calls"]
    status: StepStatus = "in_progress"
    cancelled_at: int | None = None
    completed_at: int | None = None
    expired_at: int | None = None
    expires_at: int | None = None
    failed_at: int | None = None
    last_error: StepError | None = None
    step_details: StepDetails
    usage: Usage | None = None
    metadata: Metadata = {}


class FunctionPiece(Struct, kw_only=True, omit_defaults=True):
    """Part of a call: the name once, then the arguments piece by piece, then the output."""

    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET
    output: str | None | UnsetType = UNSET


class FunctionCallDelta(Struct, kw_only=True, omit_defaults=True, tag="function"):
    index: int
    id: str | UnsetType = UNSET
    function: FunctionPiece


class LogsDelta(Struct, kw_only=True, tag="logs"):
    index: int
    logs: str


class ImageDelta(Struct, kw_only=True, tag="image"):
    index: int
    image: ImageReference


OutputDelta = LogsDelta | ImageDelta


class CodePiece(Struct, kw_only=True, omit_defaults=True):
    """Part of a call: code as it is written, then outputs as they come."""

    input: str | UnsetType = UNSET
    outputs: list[OutputDelta] | UnsetType = UNSET


class CodeInterpreterDelta(Struct, kw_only=True, omit_defaults=True, tag="code_interpreter"):
    index: int
    id: str | UnsetType = UNSET
    code_interpreter: CodePiece


class FileSearchDelta(Struct, kw_only=True, tag="file_search"):
    index: int
    id: str
    file_search: dict[str, str] = {}


CallDelta = FunctionCallDelta | CodeInterpreterDelta | FileSearchDelta


class ToolCallsDelta(Struct, kw_only=True):
    type: Literal["tool_calls"] = "tool_calls"
    tool_calls: list[CallDelta]


class StepDetailsDelta(Struct, kw_only=True):
    step_details: ToolCallsDelta


class RunStepDelta(Struct, kw_only=True):
    """What a step grew by (``thread.run.step.delta``)."""

    id: str
    object: Literal["thread.run.step.delta"] = "thread.run.step.delta"
    delta: StepDetailsDelta


_step = msgspec.json.Decoder(RunStep)

SEARCH = b"file_search"
"""What stands in the body of every step that has searched, and seldom in another."""


def without_texts(body: bytes) -> bytes:
    """A step's body as callers see it who did not ask for the texts that a search found."""
    return msgspec.json.encode(hide_texts(_step.decode(body))) if SEARCH in body else body


class _Placed(Struct):
    thread_id: str


_placed = msgspec.json.Decoder(_Placed)


def thread_of(body: bytes) -> str:
    """The thread that a step is of, read from its body without the rest."""
    return _placed.decode(body).thread_id


def hide_texts(step: RunStep) -> RunStep:
    """The same step, without the texts that its searches found."""
    if isinstance(step.step_details, ToolCalls):
        for call in step.step_details.tool_calls:
            if isinstance(call, FileSearchStepCall) and call.file_search.results is not UNSET:
                for result in call.file_search.results:
                    result.content = UNSET
    return step
