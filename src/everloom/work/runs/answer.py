"""One answer of a model, on its way into a run: chunks in; steps, a message and their deltas out."""

import msgspec
from msgspec import UNSET

from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.chat import ChatChunk, ToolCallChunk
from everloom.objects.events import STEP_EVENTS, STEP_OPENED, EventName
from everloom.objects.messages import (
    Annotation,
    ContentDelta,
    ImageFile,
    ImageFileContentDelta,
    IncompleteMessage,
    IncompleteReason,
    Message,
    MessageContentDelta,
    MessageDelta,
    RefusalContent,
    RefusalContentDelta,
    Text,
    TextContent,
    TextContentDelta,
    TextDelta,
)
from everloom.objects.runs import Generation
from everloom.objects.steps import (
    MessageCreation,
    MessageReference,
    RunStep,
    StepError,
    StepStatus,
    ToolCalls,
)
from everloom.objects.tools import Usage
from everloom.store.base import Add, Change, Operation, Tell
from everloom.work.runs.citations import Citations, CitedPiece, indexed
from everloom.work.runs.made_files import made_since_last_message
from everloom.work.runs.prompt import Prompt
from everloom.work.runs.requested_calls import RequestedCalls
from everloom.work.runs.state import RunState

_encode = msgspec.json.Encoder().encode


class RunAnswer:
    """What one generation has brought so far.

    Every ``take`` returns what is to be kept and told for that chunk. ``reuse`` are the steps that an
    executor that died left behind: what takes their place is told under their old ids. ``prompt`` is what it answers,
    and knows what the text may cite. A message brings along what code has made before it.
    """

    def __init__(self, state: RunState, reuse: list[RunStep], prompt: Prompt) -> None:
        self._run = state.run
        self._prompt = prompt
        self._reuse = {step.type: step for step in reuse}
        self._message: Message | None = None
        self._message_step: RunStep | None = None
        self._message_done = False
        self._citations = Citations(prompt.sources)
        self._made = made_since_last_message(state, but=reuse)
        self._used_ids = state.call_ids(but=reuse)
        self._text: list[str] = []
        """In pieces: grown by each of a million it was copied each time, and everybody waited."""
        self._wrote = False
        self._annotations: list[Annotation] = []
        self._refusal: list[str] = []
        self.calls: RequestedCalls | None = None
        """What the model asked for, if it did."""
        self.usage: Usage | None = None
        self.finish_reason: str | None = None

    @property
    def begun(self) -> bool:
        """Whether anything of it stands in a step."""
        return self.calls is not None or self._message_step is not None

    @property
    def step_id(self) -> str:
        """The step that this answer filled last."""
        step = self.calls.step if self.calls else self._message_step
        assert step is not None, "an answer without a step"
        return step.id

    @property
    def open_message(self) -> tuple[str, str] | None:
        """The ids of the message that is being written and of its step."""
        if self._message is None or self._message_step is None or self._message_done:
            return None
        return self._message.id, self._message_step.id

    def take(self, chunk: ChatChunk) -> list[Operation]:
        """Grow by one chunk."""
        if chunk.usage is not None:
            self.usage = chunk.usage
        operations: list[Operation] = []
        for choice in chunk.choices:
            # A word behind calls has no place: the message stood before them and is closed.
            if choice.delta.content and self.calls is None:
                operations += self._grow_text(choice.delta.content)
            if choice.delta.refusal:
                operations += self._grow_refusal(choice.delta.refusal)
            for call in choice.delta.tool_calls or ():
                operations += self._grow_call(call)
            if choice.finish_reason is not None:
                self.finish_reason = choice.finish_reason
        return operations

    def ensure_step(self) -> list[Operation]:
        """A model that said nothing still answered: with an empty message."""
        if self._message_step or self.calls:
            return []
        return self._grow_text("")

    def _grow_text(self, piece: str) -> list[Operation]:
        operations = self._open_message()
        first = not self._wrote
        self._wrote = True
        self._text.append(piece)
        if first and not piece:
            return [*operations, self._text_delta(TextDelta(value="", annotations=[]))]
        return [*operations, *self._tell_text(self._citations.feed(piece), first=first)]

    def _tell_text(self, pieces: list[CitedPiece], *, first: bool = False) -> list[Operation]:
        """A delta a piece: a mark comes whole, together with its annotation."""
        operations: list[Operation] = []
        for text, annotation in pieces:
            if annotation is None:
                operations.append(self._text_delta(TextDelta(value=text, annotations=[] if first else UNSET)))
            else:
                self._annotations.append(annotation)
                told = indexed(annotation, len(self._annotations) - 1)
                operations.append(self._text_delta(TextDelta(value=text, annotations=[told])))
            first = False
        return operations

    def _text_delta(self, text: TextDelta) -> Tell:
        return self._message_delta(TextContentDelta(index=len(self._made.pictures), text=text))

    def _rest(self) -> list[Operation]:
        """What was held back of a text that has ended."""
        return self._tell_text(self._citations.feed("", ended=True))

    def _grow_refusal(self, piece: str) -> list[Operation]:
        operations = self._open_message()
        self._refusal.append(piece)
        index = len(self._made.pictures) + self._wrote
        return [*operations, self._message_delta(RefusalContentDelta(index=index, refusal=piece))]

    def _message_delta(self, part: ContentDelta) -> Tell:
        assert self._message is not None
        delta = MessageDelta(id=self._message.id, delta=MessageContentDelta(content=[part]))
        return Tell("thread.message.delta", _encode(delta))

    def _open_message(self) -> list[Operation]:
        if self._message is not None:
            return []
        run, made = self._run, now()
        old = self._reuse.get("message_creation")
        message_id = new_id("msg_")
        if old is not None and isinstance(old.step_details, MessageCreation):
            message_id = old.step_details.message_creation.message_id
        self._message = Message(
            id=message_id,
            created_at=old.created_at if old else made,
            thread_id=run.thread_id,
            status="in_progress",
            role="assistant",
            assistant_id=run.assistant_id,
            run_id=run.id,
            attachments=self._made.attachments,
        )
        details = MessageCreation(message_creation=MessageReference(message_id=message_id))
        self._message_step, operations = self._open_step(old, details)
        pictures = [
            self._message_delta(ImageFileContentDelta(index=index, image_file=ImageFile(file_id=file_id)))
            for index, file_id in enumerate(self._made.pictures)
        ]
        opened = Add(self._message, tell=("thread.message.created", "thread.message.in_progress"))
        return [*operations, opened, *pictures]

    def _open_step(self, old: RunStep | None, details: MessageCreation | ToolCalls) -> tuple[RunStep, list[Operation]]:
        run = self._run
        step = RunStep(
            id=old.id if old else new_id("step_"),
            created_at=old.created_at if old else now(),
            run_id=run.id,
            assistant_id=run.assistant_id,
            thread_id=run.thread_id,
            type="message_creation" if isinstance(details, MessageCreation) else "tool_calls",
            expires_at=run.expires_at,
            step_details=details,
        )
        return step, [Add(step, tell=STEP_OPENED)]

    def _grow_call(self, chunk: ToolCallChunk) -> list[Operation]:
        operations: list[Operation] = []
        if self.calls is None:
            operations += self._close_message(Usage())
            step, opened = self._open_step(self._reuse.get("tool_calls"), ToolCalls())
            self.calls = RequestedCalls(self._run, step, self._used_ids)
            operations += opened
        return [*operations, *self.calls.take(chunk)]

    def generation(self, usage: Usage, reason: str) -> Generation:
        """What is kept of the model's call."""
        return Generation(
            id=new_id("gen_"),
            created_at=now(),
            run_id=self._run.id,
            step_id=self.step_id,
            model=self._run.model,
            usage=usage,
            finish_reason=reason,
            dropped_messages=self._prompt.dropped,
            sent=self._prompt.sent,
        )

    def complete(self, reason: IncompleteReason | None = None) -> list[Operation]:
        """Close the message and its step; with ``reason`` the message stays incomplete, its step is whole."""
        return self._close_message(self.usage or Usage(), reason)

    def _close_message(self, usage: Usage, reason: IncompleteReason | None = None) -> list[Operation]:
        if self._message is None or self._message_step is None or self._message_done:
            return []
        self._message_done = True
        return [
            *self._rest(),
            self._change_message(reason),
            Change(
                RunStep,
                self._message_step.id,
                lambda step: _end_step(step, "completed", usage=usage),
                tell=("thread.run.step.completed",),
            ),
        ]

    def _change_message(self, reason: IncompleteReason | None) -> Change[Message]:
        assert self._message is not None
        refusal = "".join(self._refusal)
        text = Text(value="".join(self._text), annotations=self._annotations)

        def edit(message: Message) -> None:
            message.content = [*self._made.blocks]
            if self._wrote:
                message.content.append(TextContent(text=text))
            if refusal:
                message.content.append(RefusalContent(refusal=refusal))
            if reason is None:
                message.status, message.completed_at = "completed", now()
            else:
                message.status, message.incomplete_at = "incomplete", now()
                message.incomplete_details = IncompleteMessage(reason=reason)

        told: EventName = "thread.message.completed" if reason is None else "thread.message.incomplete"
        return Change(Message, self._message.id, edit, tell=(told,))

    def break_off(self, status: StepStatus, reason: IncompleteReason, error: StepError | None) -> list[Operation]:
        """Close what is open because the run ends: partly written messages stay, as incomplete."""
        operations: list[Operation] = []
        if self._message is not None and self._message_step is not None and not self._message_done:
            self._message_done = True
            operations += [*self._rest(), self._change_message(reason)]
            operations.append(break_step(self._message_step.id, status, error, self.usage))
        if self.calls is not None:
            operations += [self.calls.fill(), break_step(self.calls.step.id, status, error, self.usage)]
        return operations


def _end_step(step: RunStep, status: StepStatus, *, usage: Usage | None = None, error: StepError | None = None) -> None:
    step.status = status
    setattr(step, f"{status}_at", now())
    step.last_error = error
    step.usage = usage


def break_step(
    step_id: str, status: StepStatus, error: StepError | None = None, usage: Usage | None = None
) -> Change[RunStep]:
    """End an open step with its run: ``cancelled``, ``failed`` or ``expired``."""
    return Change(
        RunStep,
        step_id,
        lambda step: _end_step(step, status, usage=usage or step.usage, error=error),
        tell=(STEP_EVENTS[status],),
    )
