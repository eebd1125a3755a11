"""The part of a chat completion stream that the server itself reads (CreateChatCompletionStreamResponse)."""

from msgspec import Struct, field

from everloom.objects.tools import Usage


class FunctionChunk(Struct, kw_only=True):
    name: str | None = None
    arguments: str | None = None


class ToolCallChunk(Struct, kw_only=True):
    index: int = 0
    id: str | None = None
    function: FunctionChunk | None = None


class ChatDelta(Struct, kw_only=True):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallChunk] | None = None


class ChunkChoice(Struct, kw_only=True):
    index: int = 0
    delta: ChatDelta = field(default_factory=ChatDelta)
    finish_reason: str | None = None


class ChatChunk(Struct, kw_only=True):
    """One event of a streamed chat completion; other fields pass by unread."""

    choices: list[ChunkChoice] = []
    usage: Usage | None = None
    model: str | None = None
