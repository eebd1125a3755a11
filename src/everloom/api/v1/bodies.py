"""What v1 requests look like, and the common request that each of them means."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from everloom.api.http.validation import invalid
from everloom.api.v1.dialect import DIALECT
from everloom.objects.assistants import Description, Instructions, Name, Temperature, TopP
from everloom.objects.base import MAX_METADATA_PAIRS, MetadataChange
from everloom.objects.messages import AttachmentForAnyTool, FileSearchMention, NewMessage
from everloom.objects.runs import NewRun, NewThreadRun, TokenBudget
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

T = TypeVar("T")

ASSISTANT_FILES = 20
MESSAGE_FILES = 10
"""How many files an assistant and a message may hold (semantics section 9)."""

_VALUE = 512
"""How many characters a value of the metadata may have."""

LooseMetadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=_VALUE)] | bool | int | float | None],
    Meta(max_length=MAX_METADATA_PAIRS),
]
"""Metadata whose values may be any scalar: v1 kept what Python's ``str()`` makes of them (recorded)."""


class RetrievalTool(Struct, kw_only=True, tag="retrieval", forbid_unknown_fields=True):
    """What v2 calls ``file_search``; it had no options."""


OlderTool = CodeInterpreterTool | RetrievalTool | FunctionTool


class OlderFormat(Struct, kw_only=True, forbid_unknown_fields=True):
    type: Literal["text", "json_object"] = "text"


class OlderToolChoice(Struct, kw_only=True, forbid_unknown_fields=True):
    type: Literal["function", "code_interpreter", "retrieval"]
    function: FunctionName | UnsetType = UNSET


OlderTools = Annotated[list[OlderTool], Meta(max_length=128)]
OlderResponseFormat = Literal["none", "auto"] | OlderFormat
AssistantFileIds = Annotated[list[str], Meta(max_length=ASSISTANT_FILES)]


class OlderAssistant(Struct, kw_only=True, forbid_unknown_fields=True):
    """An assistant to be (v1 CreateAssistantRequest)."""

    model: str
    name: Name | None = None
    description: Description | None = None
    instructions: Instructions | None = None
    tools: OlderTools = []
    file_ids: AssistantFileIds = []
    metadata: LooseMetadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: OlderResponseFormat | None = None


class OlderAssistantChanges(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change about an assistant (v1 ModifyAssistantRequest); what is left out stays."""

    model: str | UnsetType = UNSET
    name: Name | None | UnsetType = UNSET
    description: Description | None | UnsetType = UNSET
    instructions: Instructions | None | UnsetType = UNSET
    tools: OlderTools | UnsetType = UNSET
    file_ids: AssistantFileIds | UnsetType = UNSET
    metadata: LooseMetadata | None | UnsetType = UNSET
    temperature: Temperature | None | UnsetType = UNSET
    top_p: TopP | None | UnsetType = UNSET
    response_format: OlderResponseFormat | None | UnsetType = UNSET


class OlderMessage(Struct, kw_only=True, forbid_unknown_fields=True):
    """A message to be (v1 CreateMessageRequest): text alone, and the files it brings."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Meta(min_length=1, max_length=256_000)]
    file_ids: Annotated[list[str], Meta(max_length=MESSAGE_FILES)] = []
    metadata: LooseMetadata | None = None


class OlderMetadataChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of every modification that reaches the metadata alone."""

    metadata: LooseMetadata | None | UnsetType = UNSET


class OlderThread(Struct, kw_only=True, forbid_unknown_fields=True):
    """A thread to be (v1 CreateThreadRequest)."""

    messages: list[OlderMessage] = []
    metadata: LooseMetadata | None = None


class OlderRunOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """What both ways of starting a run share. No ``file_ids``: those are the assistant's."""

    assistant_id: str
    model: str | None = None
    instructions: Instructions | None = None
    tools: Annotated[list[OlderTool], Meta(max_length=20)] | None = None
    metadata: LooseMetadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: bool | None = None
    max_prompt_tokens: TokenBudget | None = None
    max_completion_tokens: TokenBudget | None = None
    truncation_strategy: TruncationStrategy | None = None
    tool_choice: Literal["none", "auto"] | OlderToolChoice | None = None
    response_format: OlderResponseFormat | None = None


class OlderRun(OlderRunOptions, kw_only=True, forbid_unknown_fields=True):
    """A run to be on a thread that stands (v1 CreateRunRequest)."""

    additional_instructions: Instructions | None = None
    additional_messages: list[OlderMessage] | None = None


class OlderThreadRun(OlderRunOptions, kw_only=True, forbid_unknown_fields=True):
    """A run to be on a thread made for it (v1 CreateThreadAndRunRequest)."""

    thread: OlderThread | None = None


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


def common_tools(tools: Iterable[OlderTool]) -> list[Tool]:
    """The tools by their common names."""
    return [FileSearchTool() if isinstance(tool, RetrievalTool) else tool for tool in tools]


def common_format(wanted: OlderResponseFormat) -> ResponseFormat:
    """``none`` asked for nothing special, which today is ``auto``."""
    if isinstance(wanted, str):
        return "auto"
    return ResponseFormatText() if wanted.type == "text" else ResponseFormatJsonObject()


def common_choice(choice: Literal["none", "auto"] | OlderToolChoice) -> ToolChoice:
    """The tool choice by the tool's common name."""
    if isinstance(choice, str):
        return choice
    return NamedToolChoice(
        type="file_search" if choice.type == "retrieval" else choice.type,
        function=choice.function,
    )


def _same(make: Callable[..., T]) -> Callable[[Struct], T]:
    """A translation into the request whose fields have the same names."""
    return lambda body: make(**translated(body))


@DIALECT.translates("create_message", OlderMessage)
def common_message(body: OlderMessage) -> NewMessage:
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


def common_messages(bodies: Iterable[OlderMessage]) -> list[NewMessage]:
    """As ``common_message``, one by one."""
    return [common_message(body) for body in bodies]


common_thread = DIALECT.translates("create_thread", OlderThread)(_same(NewThread))
DIALECT.translates("modify_thread", OlderMetadataChange)(_same(ThreadChanges))
DIALECT.translates("modify_message", OlderMetadataChange)(_same(MetadataChange))
DIALECT.translates("modify_run", OlderMetadataChange)(_same(MetadataChange))
DIALECT.translates("create_run", OlderRun)(_same(NewRun))
DIALECT.translates("create_thread_and_run", OlderThreadRun)(_same(NewThreadRun))

_UP: dict[str, Callable[[Any], Any]] = {
    "metadata": texts,
    "tools": common_tools,
    "response_format": common_format,
    "tool_choice": common_choice,
    "messages": common_messages,
    "additional_messages": common_messages,
    "thread": common_thread,
}
"""The fields whose values differ between the two forms."""
