"""The nouns as v1's reference has them: what a client may be shown, member by member, at every depth.

Stored documents are read into these forms (``views.py``), and what a form does not name is left out: a field that a
common noun gains is unseen in v1 until it is written here. The source is v1's specification; what stands beyond it was
recorded, and a test names it. No form refuses what it does not know: requests have forms of their own (``bodies.py``).
"""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from everloom.objects.base import JsonObject, Object

MetadataV1 = dict[str, str]


class ObjectV1(Struct, kw_only=True):
    id: str
    created_at: int


class NothingV1(Struct, frozen=True):
    """An object without members: what a retrieval did was never shown."""


# --- tools -----------------------------------------------------------------------------------------------------------


class CodeInterpreterToolV1(Struct, kw_only=True, tag="code_interpreter"):
    pass


class RetrievalToolV1(Struct, kw_only=True, tag="retrieval"):
    """What v2 calls ``file_search``; it had no options."""


class FunctionV1(Struct, kw_only=True, omit_defaults=True):
    name: str
    description: str | None = None
    parameters: JsonObject | UnsetType = UNSET


class FunctionToolV1(Struct, kw_only=True, tag="function"):
    function: FunctionV1


ToolV1 = CodeInterpreterToolV1 | RetrievalToolV1 | FunctionToolV1


class FormatV1(Struct, kw_only=True):
    type: Literal["text", "json_object"]


ResponseFormatV1 = Literal["none", "auto"] | FormatV1


class FunctionNameV1(Struct, kw_only=True):
    name: str


class NamedToolChoiceV1(Struct, kw_only=True, omit_defaults=True):
    type: Literal["function", "code_interpreter", "retrieval"]
    function: FunctionNameV1 | UnsetType = UNSET


ToolChoiceV1 = Literal["none", "auto"] | NamedToolChoiceV1


class TruncationV1(Struct, kw_only=True):
    type: Literal["auto", "last_messages"] = "auto"
    last_messages: int | None = None


class UsageV1(Struct, kw_only=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


# --- assistants and threads ------------------------------------------------------------------------------------------


class AssistantV1(ObjectV1, kw_only=True):
    object: Literal["assistant"] = "assistant"
    name: str | None = None
    description: str | None = None
    model: str
    instructions: str | None = None
    tools: list[ToolV1] = []
    file_ids: list[str] = []
    metadata: MetadataV1 = {}
    top_p: float | None = 1.0
    temperature: float | None = 1.0
    response_format: ResponseFormatV1 = "auto"


class AssistantFileV1(Object, kw_only=True):
    """A file attached to an assistant: its id is the file's."""

    object: Literal["assistant.file"] = "assistant.file"
    assistant_id: str


class ThreadV1(ObjectV1, kw_only=True):
    object: Literal["thread"] = "thread"
    metadata: MetadataV1 = {}


# --- messages --------------------------------------------------------------------------------------------------------


class FileReferenceV1(Struct, kw_only=True):
    file_id: str


class QuoteV1(Struct, kw_only=True):
    """What a citation cites. v1's always had a quote."""

    file_id: str
    quote: str = ""


class FileCitationV1(Struct, kw_only=True, tag="file_citation"):
    text: str
    file_citation: QuoteV1
    start_index: int
    end_index: int


class FilePathV1(Struct, kw_only=True, tag="file_path"):
    text: str
    file_path: FileReferenceV1
    start_index: int
    end_index: int


class TextV1(Struct, kw_only=True):
    value: str
    annotations: list[FileCitationV1 | FilePathV1] = []


class TextContentV1(Struct, kw_only=True, tag="text"):
    text: TextV1


class ImageFileContentV1(Struct, kw_only=True, tag="image_file"):
    image_file: FileReferenceV1


class IncompleteMessageV1(Struct, kw_only=True):
    reason: Literal["content_filter", "max_tokens", "run_cancelled", "run_expired", "run_failed"]


class MessageV1(ObjectV1, kw_only=True):
    object: Literal["thread.message"] = "thread.message"
    thread_id: str
    status: Literal["in_progress", "incomplete", "completed"] = "completed"
    incomplete_details: IncompleteMessageV1 | None = None
    incomplete_at: int | None = None
    completed_at: int | None = None
    role: Literal["user", "assistant"]
    content: list[TextContentV1 | ImageFileContentV1] = []
    assistant_id: str | None = None
    run_id: str | None = None
    file_ids: list[str] = []
    metadata: MetadataV1 = {}


class MessageFileV1(Object, kw_only=True):
    """A file that came with a message: its id is the file's."""

    object: Literal["thread.message.file"] = "thread.message.file"
    message_id: str


# --- runs ------------------------------------------------------------------------------------------------------------


class FunctionCallV1(Struct, kw_only=True):
    name: str
    arguments: str


class RequiredCallV1(Struct, kw_only=True, tag="function"):
    id: str
    function: FunctionCallV1


class RequiredCallsV1(Struct, kw_only=True):
    tool_calls: list[RequiredCallV1] = []


class RequiredActionV1(Struct, kw_only=True):
    type: Literal["submit_tool_outputs"] = "submit_tool_outputs"
    submit_tool_outputs: RequiredCallsV1


class RunErrorV1(Struct, kw_only=True):
    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class IncompleteRunV1(Struct, kw_only=True):
    reason: Literal["max_completion_tokens", "max_prompt_tokens"]


RunStatusV1 = Literal[
    "queued", "in_progress", "requires_action", "cancelling", "cancelled", "failed", "completed", "expired"
]


class RunV1(ObjectV1, kw_only=True):
    object: Literal["thread.run"] = "thread.run"
    assistant_id: str
    thread_id: str
    status: RunStatusV1 = "queued"
    started_at: int | None = None
    expires_at: int | None = None
    cancelled_at: int | None = None
    failed_at: int | None = None
    completed_at: int | None = None
    required_action: RequiredActionV1 | None = None
    last_error: RunErrorV1 | None = None
    model: str
    instructions: str | None = None
    tools: list[ToolV1] = []
    file_ids: list[str] = []
    metadata: MetadataV1 = {}
    temperature: float | None = 1.0
    top_p: float | None = 1.0
    max_completion_tokens: int | None = None
    max_prompt_tokens: int | None = None
    truncation_strategy: TruncationV1 = field(default_factory=TruncationV1)
    incomplete_details: IncompleteRunV1 | None = None
    usage: UsageV1 | None = None
    response_format: ResponseFormatV1 = "auto"
    tool_choice: ToolChoiceV1 = "auto"


# --- run steps -------------------------------------------------------------------------------------------------------


class MessageReferenceV1(Struct, kw_only=True):
    message_id: str


class MessageCreationV1(Struct, kw_only=True, tag="message_creation"):
    message_creation: MessageReferenceV1


class LogsV1(Struct, kw_only=True, tag="logs"):
    logs: str


class ImageOutputV1(Struct, kw_only=True, tag="image"):
    image: FileReferenceV1


class CodeInterpreterOutcomeV1(Struct, kw_only=True):
    input: str
    outputs: list[LogsV1 | ImageOutputV1] = []


class CodeInterpreterCallV1(Struct, kw_only=True, tag="code_interpreter"):
    id: str
    code_interpreter: CodeInterpreterOutcomeV1


class RetrievalCallV1(Struct, kw_only=True, tag="retrieval"):
    id: str
    retrieval: NothingV1 = NothingV1()


class FunctionOutcomeV1(Struct, kw_only=True):
    name: str
    arguments: str
    output: str | None = None


class FunctionStepCallV1(Struct, kw_only=True, tag="function"):
    id: str
    function: FunctionOutcomeV1


class ToolCallsV1(Struct, kw_only=True, tag="tool_calls"):
    tool_calls: list[CodeInterpreterCallV1 | RetrievalCallV1 | FunctionStepCallV1] = []


class StepErrorV1(Struct, kw_only=True):
    code: Literal["server_error", "rate_limit_exceeded"]
    message: str


class RunStepV1(ObjectV1, kw_only=True):
    object: Literal["thread.run.step"] = "thread.run.step"
    run_id: str
    assistant_id: str
    thread_id: str
    type: Literal["message_creation", "tool_calls"]
    status: Literal["in_progress", "cancelled", "failed", "completed", "expired"] = "in_progress"
    cancelled_at: int | None = None
    completed_at: int | None = None
    expired_at: int | None = None
    expires_at: int | None = None
    failed_at: int | None = None
    last_error: StepErrorV1 | None = None
    step_details: MessageCreationV1 | ToolCallsV1
    usage: UsageV1 | None = None
    metadata: MetadataV1 = {}


# --- deltas ----------------------------------------------------------------------------------------------------------


class CitationDeltaV1(FileCitationV1, kw_only=True, tag="file_citation"):
    index: int


class PathDeltaV1(FilePathV1, kw_only=True, tag="file_path"):
    index: int


class TextDeltaV1(Struct, kw_only=True, omit_defaults=True):
    value: str | UnsetType = UNSET
    annotations: list[CitationDeltaV1 | PathDeltaV1] | UnsetType = UNSET


class PartDeltaV1(Struct, kw_only=True, omit_defaults=True):
    """What a part of a message grew by; but for ``index`` a delta says only what is new."""

    type: Literal["text", "image_file"] | UnsetType = UNSET
    index: int
    text: TextDeltaV1 | UnsetType = UNSET
    image_file: FileReferenceV1 | UnsetType = UNSET


class GrownMessageV1(Struct, kw_only=True, omit_defaults=True):
    role: Literal["user", "assistant"] | UnsetType = UNSET
    content: list[PartDeltaV1] | UnsetType = UNSET
    file_ids: list[str] | UnsetType = UNSET


class MessageDeltaV1(Struct, kw_only=True):
    id: str
    object: Literal["thread.message.delta"] = "thread.message.delta"
    delta: GrownMessageV1


class LogsDeltaV1(Struct, kw_only=True, omit_defaults=True, tag="logs"):
    index: int
    logs: str | UnsetType = UNSET


class ImageDeltaV1(Struct, kw_only=True, omit_defaults=True, tag="image"):
    index: int
    image: FileReferenceV1 | UnsetType = UNSET


class CodeDeltaV1(Struct, kw_only=True, omit_defaults=True):
    input: str | UnsetType = UNSET
    outputs: list[LogsDeltaV1 | ImageDeltaV1] | UnsetType = UNSET


class FunctionDeltaV1(Struct, kw_only=True, omit_defaults=True):
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET
    output: str | None | UnsetType = UNSET


class CallDeltaV1(Struct, kw_only=True, omit_defaults=True):
    """What a call of a tool grew by."""

    type: Literal["code_interpreter", "retrieval", "function"] | UnsetType = UNSET
    index: int
    id: str | UnsetType = UNSET
    code_interpreter: CodeDeltaV1 | UnsetType = UNSET
    retrieval: NothingV1 | UnsetType = UNSET
    function: FunctionDeltaV1 | UnsetType = UNSET


class StepDetailsDeltaV1(Struct, kw_only=True, omit_defaults=True):
    type: Literal["message_creation", "tool_calls"] | UnsetType = UNSET
    message_creation: MessageReferenceV1 | UnsetType = UNSET
    tool_calls: list[CallDeltaV1] | UnsetType = UNSET


class GrownStepV1(Struct, kw_only=True, omit_defaults=True):
    step_details: StepDetailsDeltaV1 | UnsetType = UNSET


class RunStepDeltaV1(Struct, kw_only=True):
    id: str
    object: Literal["thread.run.step.delta"] = "thread.run.step.delta"
    delta: GrownStepV1
