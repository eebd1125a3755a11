"""Runs (RunObject), the table of their states, and what is kept about them but never shown."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from everloom.objects.assistants import Instructions, ReasoningEffort, Temperature, TopP
from everloom.objects.base import JsonObject, Metadata, Object
from everloom.objects.messages import NewMessage
from everloom.objects.threads import NewThread
from everloom.objects.tools import (
    GivenToolResources,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolResources,
    TruncationStrategy,
    Usage,
)

RunStatus = Literal[
    "queued",
    "in_progress",
    "requires_action",
    "cancelling",
    "cancelled",
    "failed",
    "completed",
    "incomplete",
    "expired",
]

NEXT: dict[RunStatus, frozenset[RunStatus]] = {
    "queued": frozenset({"in_progress", "cancelling", "cancelled", "failed", "expired"}),
    "in_progress": frozenset(
        {"requires_action", "cancelling", "cancelled", "failed", "completed", "incomplete", "expired"}
    ),
    "requires_action": frozenset({"queued", "cancelling", "cancelled", "failed", "expired"}),
    "cancelling": frozenset({"cancelled", "failed", "expired", "completed", "incomplete"}),
    "cancelled": frozenset(),
    "failed": frozenset(),
    "completed": frozenset(),
    "incomplete": frozenset(),
    "expired": frozenset(),
}
"""Where a run may go from each state (the reference, and what was recorded). Those with nothing behind them are
terminal."""

TERMINAL = frozenset(status for status, after in NEXT.items() if not after)


class FunctionCall(Struct, kw_only=True):
    name: str
    arguments: str


class RequiredCall(Struct, kw_only=True, tag="function"):
    """A function call the caller has to answer (RunToolCallObject)."""

    id: str
    function: FunctionCall


class RequiredCalls(Struct, kw_only=True):
    tool_calls: list[RequiredCall]


class RequiredAction(Struct, kw_only=True):
    type: Literal["submit_tool_outputs"] = "submit_tool_outputs"
    submit_tool_outputs: RequiredCalls


class RunError(Struct, kw_only=True):
    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class IncompleteRun(Struct, kw_only=True):
    reason: Literal["max_completion_tokens", "max_prompt_tokens"]


class Run(Object, kw_only=True):
    object: Literal["thread.run"] = "thread.run"
    assistant_id: str
    thread_id: str
    status: RunStatus = "queued"
    started_at: int | None = None
    expires_at: int | None = None
    cancelled_at: int | None = None
    failed_at: int | None = None
    completed_at: int | None = None
    required_action: RequiredAction | None = None
    last_error: RunError | None = None
    model: str
    instructions: str | None = None
    tools: list[Tool] = []
    tool_resources: ToolResources = field(default_factory=ToolResources)
    metadata: Metadata = {}
    temperature: float | None = 1.0
    top_p: float | None = 1.0
    max_completion_tokens: int | None = None
    max_prompt_tokens: int | None = None
    truncation_strategy: TruncationStrategy = field(default_factory=TruncationStrategy)
    incomplete_details: IncompleteRun | None = None
    usage: Usage | None = None
    response_format: ResponseFormat = "auto"
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    reasoning_effort: ReasoningEffort | UnsetType = UNSET

    @property
    def active(self) -> bool:
        """Whether the run still locks its thread."""
        return self.status not in TERMINAL


class RunLease(Object, kw_only=True):
    """Who executes a run: its id is the run's; ``holder`` is a random word of the executor that came last.

    Every write of an executor asks for its own word here, so one that was thought dead and woke up
    writes nothing more. ``key_id`` and ``user`` are the caller's who began the run: what it asks of models is theirs.
    """

    holder: str = ""
    key_id: str = ""
    user: str = ""
    named: tuple[str, ...] = ()
    """Which of temperature and top_p the caller named for this run: what is named is said to the model, 1 too."""
    called_at: int = 0
    """When somebody else was last called to end the run (``work/runs/expiry.py``), in Unix seconds."""
    tries: int = 0
    broken: int = 0
    waits_for: str = ""
    """How often the model was asked in vain since it last answered, how often it broke off, why it is waited for."""


class EndedLog(Object, kw_only=True):
    """That a run has ended whose log is not compacted yet: its id is the run's, ``created_at`` when it ended, and its
    rank that too, so that those which wait longest stand first.
    """

    waiting: bool = True
    """Always: what those of all projects are found by."""


CODE_SESSION_SECONDS = 3600
"""How long a thread may use the code interpreter for one session (the platform's price list)."""


class CodeSession(Object, kw_only=True):
    """The last code interpreter session of a thread, whose id it has: another begins an hour after ``created_at``."""


class SentPrompt(Struct, kw_only=True, omit_defaults=True):
    """What a request to a model was made of, so that it can be made again: a prompt of a hundred kilobytes is kept in
    two hundred bytes, since the messages that went into it stand in their thread.

    ``newest`` and ``oldest`` are the ids of the first and the last message of the thread that went in, ``turns`` how
    many came of them, ``messages`` how many the request had in all. ``whole``: the thread was read to its beginning.
    ``chooses_tools`` and ``takes_effort`` are what the model was like.
    """

    asked_at: int
    newest: str = ""
    oldest: str = ""
    turns: int = 0
    messages: int = 0
    whole: bool = True
    chooses_tools: bool = True
    takes_effort: bool = True


class Generation(Object, kw_only=True):
    """One finished call of a model in a run: what it cost, and which step it filled last. ``sent``: None where an
    earlier version has asked.
    """

    run_id: str
    step_id: str
    model: str
    usage: Usage
    finish_reason: str
    dropped_messages: int = 0
    sent: SentPrompt | None = None


class DroppedMessages(Struct, kw_only=True):
    """Messages of the thread that did not go in, of those that were looked at; ``has_more``: older ones were not."""

    messages: int
    has_more: bool


class MissingParts(Struct, kw_only=True):
    """What went in and has been deleted since: how many messages, and the ids of pictures' files."""

    messages: int
    files: list[str]


class ModelRequest(Object, kw_only=True):
    """What a run has asked of its model once, an extension: the chat completion request, and what did not go in.

    ``messages`` are null where it was asked by an earlier version. Pictures stand there as ``image_file`` parts, not
    with their bytes. ``exact``: the request was this one, nothing of it has been deleted since.
    """

    object: Literal["thread.run.model_request"] = "thread.run.model_request"
    run_id: str
    thread_id: str
    step_id: str
    exact: bool
    dropped: DroppedMessages
    missing: MissingParts
    finish_reason: str
    usage: Usage
    model: str
    messages: list[JsonObject] | None
    tools: list[JsonObject] | UnsetType = UNSET
    tool_choice: str | JsonObject | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    response_format: JsonObject | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    max_completion_tokens: int | UnsetType = UNSET
    reasoning_effort: str | UnsetType = UNSET


class Source(Struct, kw_only=True):
    """What a mark in an answer stands for: a file that was found, with the words that were, or one that code made."""

    mark: str
    file_id: str
    quote: str = ""


class ToolWork(Object, kw_only=True):
    """A call that this server answers itself, kept before it starts and after it ends.

    ``call_id`` is the call's own, which a model's server gave and which may stand in other runs too.
    ``output`` is what the model reads; what the caller reads stands in the step. A call that started and did
    not end was under way when its process died.
    """

    run_id: str
    step_id: str
    call_id: str
    type: str
    arguments: str
    started_at: int | None = None
    ended_at: int | None = None
    output: str = ""
    sources: list[Source] = []


TokenBudget = Annotated[int, Meta(ge=1)]
"""The reference says 256 at least; the platform was recorded taking 16, so programs may rely on that."""


class RunOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """What both ways of starting a run let the caller set over the assistant's own settings."""

    assistant_id: str
    model: str | None = None
    instructions: Instructions | None = None
    tools: Annotated[list[Tool], Meta(max_length=20)] | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: bool | None = None
    max_prompt_tokens: TokenBudget | None = None
    max_completion_tokens: TokenBudget | None = None
    truncation_strategy: TruncationStrategy | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: ReasoningEffort | None = None


class NewRun(RunOptions, kw_only=True, forbid_unknown_fields=True):
    """A run to be on a thread that stands (CreateRunRequest)."""

    additional_instructions: Instructions | None = None
    additional_messages: list[NewMessage] | None = None


class NewThreadRun(RunOptions, kw_only=True, forbid_unknown_fields=True):
    """A run to be on a thread made for it (CreateThreadAndRunRequest)."""

    thread: NewThread | None = None
    tool_resources: GivenToolResources | None = None


class ToolOutput(Struct, kw_only=True, forbid_unknown_fields=True):
    tool_call_id: str
    output: str = ""


class ToolOutputs(Struct, kw_only=True, forbid_unknown_fields=True):
    """The outputs of every call a run waits for (SubmitToolOutputsRunRequest)."""

    tool_outputs: list[ToolOutput]
    stream: bool | None = None
