"""Chat completions that are kept because their request asked for it (``store: true``)."""

from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType, field

from everloom.objects.base import JsonObject, Metadata, Object


class StoredCompletion(Object, kw_only=True):
    """A chat completion as it was answered, and the parameters that it was asked with.

    The reference has the answer's members alone (CreateChatCompletionResponse); its example shows the parameters too.
    """

    created_at: int = field(name="created")
    object: Literal["chat.completion"] = "chat.completion"
    model: str
    """The model that answered."""
    choices: list[Raw]
    usage: Any | UnsetType = UNSET
    system_fingerprint: Any | UnsetType = UNSET
    service_tier: Any | UnsetType = UNSET
    seed: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    tools: list[JsonObject] | None = None
    tool_choice: str | JsonObject | None = None
    response_format: JsonObject | None = None
    input_user: str | None = None
    metadata: dict[str, str] = {}


class StoredPrompt(Object):
    """The messages that a stored completion (of the same id) answers, as they were sent."""

    messages: list[Raw]


class CompletionChanges(Struct, kw_only=True, forbid_unknown_fields=True):
    """UpdateChatCompletionRequest; null clears the metadata."""

    metadata: Metadata | None


class StoredMessages(Struct, kw_only=True):
    """A page of a stored completion's messages (ChatCompletionMessageList)."""

    object: Literal["list"] = "list"
    data: list[JsonObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
