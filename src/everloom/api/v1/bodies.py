"""What v1 requests look like, and the common request that each of them means.

Each form has what v1's reference has, parts included: what v2 gained since is an unknown parameter here.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from everloom.objects.assistants import Description, Instructions, Name, Temperature, TopP
from everloom.objects.base import MAX_METADATA_PAIRS, JsonObject, MetadataChange
from everloom.objects.messages import AttachmentForAnyTool, FileSearchMention, NewMessage
from everloom.objects.runs import NewRun, NewThreadRun, TokenBudget, ToolOutput, ToolOutputs
from everloom.objects.threads import NewThread, ThreadChanges
from everloom.objects.tools import (
    CodeInterpreterTool,
    FileSearchTool,
    FunctionName,
    FunctionTool,
    NamedToolChoice,
    ResponseFormat,
    ResponseFormatJsonObject,
    ResponseFormatText,
    Tool,
    ToolChoice,
    TruncationStrategy,
)
from everloom.requests.validation import invalid

T = TypeVar("T")

ASSISTANT_FILES = 20
MESSAGE_FILES = 10
"""How many files an assistant and a message may hold."""

_VALUE = 512
"""How many characters a value of the metadata may have."""

LooseMetadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=_VALUE)] | bool | int | float | None],
    Meta(max_length=MAX_METADATA_PAIRS),
]
"""Metadata whose values may be any scalar: v1 kept what Python's ``str()`` makes of them (recorded)."""


class GivenCodeInterpreterV1(Struct, kw_only=True, tag="code_interpreter", forbid_unknown_fields=True):
    pass


class GivenRetrievalV1(Struct, kw_only=True, tag="retrieval", forbid_unknown_fields=True):
    """What v2 calls ``file_search``; it had no options."""


class GivenFunctionV1(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]
    description: str | None = None
    parameters: JsonObject | UnsetType = UNSET
    strict: bool | None | UnsetType = UNSET
    """Newer than v1, but sent under it by programs that were brought up to date by half; v1 shows it to nobody."""


class GivenFunctionToolV1(Struct, kw_only=True, tag="function", forbid_unknown_fields=True):
    function: GivenFunctionV1


GivenToolV1 = GivenCodeInterpreterV1 | GivenRetrievalV1 | GivenFunctionToolV1


class GivenFormatV1(Struct, kw_only=True, forbid_unknown_fields=True):
    type: Literal["text", "json_object"] = "text"


class GivenFunctionNameV1(Struct, kw_only=True, forbid_unknown_fields=True):
    name: str


class GivenToolChoiceV1(Struct, kw_only=True, forbid_unknown_fields=True):
    type: Literal["function", "code_interpreter", "retrieval"]
    function: GivenFunctionNameV1 | UnsetType = UNSET


class GivenTruncationV1(Struct, kw_only=True, forbid_unknown_fields=True):
    type: Literal["auto", "last_messages"] = "auto"
    last_messages: Annotated[int, Meta(ge=1)] | None = None


GivenToolsV1 = Annotated[list[GivenToolV1], Meta(max_length=128)]
GivenResponseFormatV1 = Literal["none", "auto"] | GivenFormatV1
AssistantFileIds = Annotated[list[str], Meta(max_length=ASSISTANT_FILES)]


class NewAssistantV1(Struct, kw_only=True, forbid_unknown_fields=True):
    """An assistant to be (v1 CreateAssistantRequest)."""

    model: str
    name: Name | None = None
    description: Description | None = None
    instructions: Instructions | None = None
    tools: GivenToolsV1 = []
    file_ids: AssistantFileIds = []
    metadata: LooseMetadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: GivenResponseFormatV1 | None = None


class AssistantChangesV1(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change about an assistant (v1 ModifyAssistantRequest); what is left out stays."""

    model: str | UnsetType = UNSET
    name: Name | None | UnsetType = UNSET
    description: Description | None | UnsetType = UNSET
    instructions: Instructions | None | UnsetType = UNSET
    tools: GivenToolsV1 | UnsetType = UNSET
    file_ids: AssistantFileIds | UnsetType = UNSET
    metadata: LooseMetadata | None | UnsetType = UNSET
    temperature: Temperature | None | UnsetType = UNSET
    top_p: TopP | None | UnsetType = UNSET
    response_format: GivenResponseFormatV1 | None | UnsetType = UNSET


class NewMessageV1(Struct, kw_only=True, forbid_unknown_fields=True):
    """A message to be (v1 CreateMessageRequest): text alone, and the files it brings."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Meta(min_length=1, max_length=256_000)]
    file_ids: Annotated[list[str], Meta(max_length=MESSAGE_FILES)] = []
    metadata: LooseMetadata | None = None


class MetadataChangeV1(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of every modification that reaches the metadata alone."""

    metadata: LooseMetadata | None | UnsetType = UNSET


class NewThreadV1(Struct, kw_only=True, forbid_unknown_fields=True):
    """A thread to be (v1 CreateThreadRequest)."""

    messages: list[NewMessageV1] = []
    metadata: LooseMetadata | None = None


class RunOptionsV1(Struct, kw_only=True, forbid_unknown_fields=True):
    """What both ways of starting a run share. No ``file_ids``: those are the assistant's."""

    assistant_id: str
    model: str | None = None
    instructions: Instructions | None = None
    tools: Annotated[list[GivenToolV1], Meta(max_length=20)] | None = None
    metadata: LooseMetadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: bool | None = None
    max_prompt_tokens: TokenBudget | None = None
    max_completion_tokens: TokenBudget | None = None
    truncation_strategy: GivenTruncationV1 | None = None
    tool_choice: Literal["none", "auto"] | GivenToolChoiceV1 | None = None
    response_format: GivenResponseFormatV1 | None = None


class NewRunV1(RunOptionsV1, kw_only=True, forbid_unknown_fields=True):
    """A run to be on a thread that stands (v1 CreateRunRequest)."""

    additional_instructions: Instructions | None = None
    additional_messages: list[NewMessageV1] | None = None


class NewThreadRunV1(RunOptionsV1, kw_only=True, forbid_unknown_fields=True):
    """A run to be on a thread made for it (v1 CreateThreadAndRunRequest)."""

    thread: NewThreadV1 | None = None


class ToolOutputV1(Struct, kw_only=True, forbid_unknown_fields=True):
    tool_call_id: str
    output: str = ""


class ToolOutputsV1(Struct, kw_only=True, forbid_unknown_fields=True):
    """The outputs of every call a run waits for (v1 SubmitToolOutputsRunRequest)."""

    tool_outputs: list[ToolOutputV1]
    stream: bool | None = None


# --- upwards ---------------------------------------------------------------------------------------------------------


def translated(body: Struct) -> dict[str, Any]:
    """The fields that a request gave, by their common names and with common values."""
    given = {name: getattr(body, name) for name in body.__struct_fields__}
    return {
        name: value if value is None or name not in _UP else _UP[name](value)
        for name, value in given.items()
        if value is not UNSET
    }


def texts(metadata: dict[str, Any]) -> dict[str, str]:
    """Metadata as it was kept: ``true`` is "True", as recorded. Errors: 400 for a number of too many digits."""
    kept = {key: value if isinstance(value, str) else str(value) for key, value in metadata.items()}
    for key, value in kept.items():
        if len(value) > _VALUE:
            fault = f"string too long. Expected a string with maximum length {_VALUE}."
            raise invalid(f"metadata.{key}", fault, "string_above_max_length")
    return kept


def common_tools(tools: Iterable[GivenToolV1]) -> list[Tool]:
    """The tools by their common names."""
    return [common_tool(tool) for tool in tools]


def common_tool(tool: GivenToolV1) -> Tool:
    """A tool by its common name."""
    if isinstance(tool, GivenRetrievalV1):
        return FileSearchTool()
    return CodeInterpreterTool() if isinstance(tool, GivenCodeInterpreterV1) else _as(FunctionTool, tool)


def common_format(wanted: GivenResponseFormatV1) -> ResponseFormat:
    """``none`` asked for nothing special, which today is ``auto``."""
    if isinstance(wanted, str):
        return "auto"
    return ResponseFormatText() if wanted.type == "text" else ResponseFormatJsonObject()


def common_choice(choice: Literal["none", "auto"] | GivenToolChoiceV1) -> ToolChoice:
    """The tool choice by the tool's common name."""
    if isinstance(choice, str):
        return choice
    return NamedToolChoice(
        type="file_search" if choice.type == "retrieval" else choice.type,
        function=UNSET if choice.function is UNSET else FunctionName(name=choice.function.name),
    )


def _as(cls: type[T], part: Struct) -> T:
    """A part of a request whose members have the same names and values in both forms."""
    return msgspec.convert(msgspec.to_builtins(part), cls)


def _same(make: Callable[..., T]) -> Callable[[Struct], T]:
    """A translation into the request whose fields have the same names."""
    return lambda body: make(**translated(body))


def common_message(body: NewMessageV1) -> NewMessage:
    """A v1 file was there for whichever tool the assistant had, so its attachment names both, as far as they can."""
    return NewMessage(
        role=body.role,
        content=body.content,
        attachments=[
            AttachmentForAnyTool(file_id=file_id, tools=[CodeInterpreterTool(), FileSearchMention()])
            for file_id in dict.fromkeys(body.file_ids)
        ],
        metadata=None if body.metadata is None else texts(body.metadata),
    )


def common_messages(bodies: Iterable[NewMessageV1]) -> list[NewMessage]:
    """As ``common_message``, one by one."""
    return [common_message(body) for body in bodies]


common_thread = _same(NewThread)

_UP: dict[str, Callable[[Any], Any]] = {
    "metadata": texts,
    "tools": common_tools,
    "response_format": common_format,
    "tool_choice": common_choice,
    "truncation_strategy": partial(_as, TruncationStrategy),
    "tool_outputs": lambda outputs: [_as(ToolOutput, output) for output in outputs],
    "messages": common_messages,
    "additional_messages": common_messages,
    "thread": common_thread,
}
"""The fields whose values differ between the two forms."""

BODIES: dict[str, tuple[type[Struct], Callable[[Any], Any]]] = {
    "create_message": (NewMessageV1, common_message),
    "create_thread": (NewThreadV1, common_thread),
    "modify_thread": (MetadataChangeV1, _same(ThreadChanges)),
    "modify_message": (MetadataChangeV1, _same(MetadataChange)),
    "modify_run": (MetadataChangeV1, _same(MetadataChange)),
    "create_run": (NewRunV1, _same(NewRun)),
    "create_thread_and_run": (NewThreadRunV1, _same(NewThreadRun)),
    "submit_tool_outputs": (ToolOutputsV1, _same(ToolOutputs)),
}
"""The common operations that take a body: v1's form of it, and what that means."""
