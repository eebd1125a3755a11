"""Messages and the parts they are made of (MessageObject, MessageDeltaObject)."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from everloom.objects.base import Metadata, Object
from everloom.objects.tools import CodeInterpreterTool

IncompleteReason = Literal["content_filter", "max_tokens", "run_cancelled", "run_expired", "run_failed"]


class FileCitationSource(Struct, kw_only=True, omit_defaults=True):
    file_id: str
    quote: str | UnsetType = UNSET


class FileCitation(Struct, kw_only=True, tag="file_citation"):
    """The span ``text`` of the answer cites a file; indices are in characters of the part's value."""

    text: str
    file_citation: FileCitationSource
    start_index: int
    end_index: int


class FilePathTarget(Struct, kw_only=True):
    file_id: str


class FilePath(Struct, kw_only=True, tag="file_path"):
    """The span ``text`` of the answer names a file that code made."""

    text: str
    file_path: FilePathTarget
    start_index: int
    end_index: int


Annotation = FileCitation | FilePath


class Text(Struct, kw_only=True):
    value: str
    annotations: list[Annotation] = []


class TextContent(Struct, kw_only=True, tag="text"):
    text: Text


class ImageFile(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    file_id: str
    detail: Literal["auto", "low", "high"] | UnsetType = UNSET


class ImageFileContent(Struct, kw_only=True, tag="image_file", forbid_unknown_fields=True):
    image_file: ImageFile


class ImageUrl(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    url: str
    detail: Literal["auto", "low", "high"] | UnsetType = UNSET


class ImageUrlContent(Struct, kw_only=True, tag="image_url", forbid_unknown_fields=True):
    image_url: ImageUrl


class RefusalContent(Struct, kw_only=True, tag="refusal"):
    refusal: str


Content = TextContent | ImageFileContent | ImageUrlContent | RefusalContent


class FileSearchMention(Struct, kw_only=True, tag="file_search", forbid_unknown_fields=True):
    """File search as an attachment names it: the type alone (AssistantToolsFileSearchTypeOnly)."""


class Attachment(Struct, kw_only=True, forbid_unknown_fields=True):
    """A file that comes with a message, and the tools it is for."""

    file_id: str
    tools: list[CodeInterpreterTool | FileSearchMention] = []


class AttachmentForAnyTool(Attachment, kw_only=True, forbid_unknown_fields=True):
    """A file that came without the name of a tool, for those that can do something with it."""


class IncompleteMessage(Struct, kw_only=True):
    reason: IncompleteReason


class Message(Object, kw_only=True):
    object: Literal["thread.message"] = "thread.message"
    thread_id: str
    status: Literal["in_progress", "incomplete", "completed"] = "completed"
    incomplete_details: IncompleteMessage | None = None
    incomplete_at: int | None = None
    completed_at: int | None = None
    role: Literal["user", "assistant"]
    content: list[Content] = []
    assistant_id: str | None = None
    run_id: str | None = None
    attachments: list[Attachment] = []
    metadata: Metadata = {}


class InputText(Struct, kw_only=True, tag="text", forbid_unknown_fields=True):
    """A text part as a request writes it: the text itself (MessageRequestContentTextObject)."""

    text: str


InputContent = InputText | ImageFileContent | ImageUrlContent


class NewMessage(Struct, kw_only=True, forbid_unknown_fields=True):
    """A message to be (CreateMessageRequest); stands alone, in a new thread and in a new run."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Meta(min_length=1, max_length=256_000)] | Annotated[list[InputContent], Meta(min_length=1)]
    attachments: list[Attachment] | None = None
    metadata: Metadata | None = None


class FileCitationDelta(FileCitation, kw_only=True, tag="file_citation"):
    index: int


class FilePathDelta(FilePath, kw_only=True, tag="file_path"):
    index: int


AnnotationDelta = FileCitationDelta | FilePathDelta
"""An annotation that a text has grown by; ``index`` is its place among the text's annotations."""


class TextDelta(Struct, kw_only=True, omit_defaults=True):
    value: str | UnsetType = UNSET
    annotations: list[AnnotationDelta] | UnsetType = UNSET


class TextContentDelta(Struct, kw_only=True, tag="text"):
    index: int
    text: TextDelta


class RefusalContentDelta(Struct, kw_only=True, tag="refusal"):
    index: int
    refusal: str


class ImageFileContentDelta(Struct, kw_only=True, tag="image_file"):
    index: int
    image_file: ImageFile


ContentDelta = TextContentDelta | RefusalContentDelta | ImageFileContentDelta


class MessageContentDelta(Struct, kw_only=True):
    content: list[ContentDelta]


class MessageDelta(Struct, kw_only=True):
    """What a message grew by (``thread.message.delta``)."""

    id: str
    object: Literal["thread.message.delta"] = "thread.message.delta"
    delta: MessageContentDelta
