"""Assistants (AssistantObject)."""

from typing import Literal

from msgspec import field

from everloom.objects.base import Metadata, Object
from everloom.objects.tools import ResponseFormat, Tool, ToolResources


class Assistant(Object, kw_only=True):
    object: Literal["assistant"] = "assistant"
    name: str | None = None
    description: str | None = None
    model: str
    instructions: str | None = None
    tools: list[Tool] = []
    tool_resources: ToolResources = field(default_factory=ToolResources)
    metadata: Metadata = {}
    top_p: float | None = 1.0
    temperature: float | None = 1.0
    response_format: ResponseFormat = "auto"
