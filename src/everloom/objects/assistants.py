"""Assistants (AssistantObject)."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from everloom.objects.base import Metadata, Object
from everloom.objects.tools import GivenToolResources, NewToolResources, ResponseFormat, Tool, ToolResources

Name = Annotated[str, Meta(max_length=256)]
Description = Annotated[str, Meta(max_length=512)]
Instructions = Annotated[str, Meta(max_length=256_000)]
Tools = Annotated[list[Tool], Meta(max_length=128)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
TopP = Annotated[float, Meta(ge=0, le=1)]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How hard a model is to think. Which of them it knows, its server says."""


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
    reasoning_effort: ReasoningEffort | UnsetType = UNSET

    @property
    def code_file_ids(self) -> list[str]:
        """The files that its code interpreter is given."""
        resources = self.tool_resources.code_interpreter
        return resources.file_ids if resources else []


class NewAssistant(Struct, kw_only=True, forbid_unknown_fields=True):
    """An assistant to be (CreateAssistantRequest)."""

    model: str
    name: Name | None = None
    description: Description | None = None
    instructions: Instructions | None = None
    tools: Tools = []
    tool_resources: NewToolResources | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: ReasoningEffort | None = None


class AssistantChanges(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change about an assistant (ModifyAssistantRequest); what is left out stays."""

    model: str | UnsetType = UNSET
    name: Name | None | UnsetType = UNSET
    description: Description | None | UnsetType = UNSET
    instructions: Instructions | None | UnsetType = UNSET
    tools: Tools | UnsetType = UNSET
    tool_resources: GivenToolResources | None | UnsetType = UNSET
    metadata: Metadata | None | UnsetType = UNSET
    temperature: Temperature | None | UnsetType = UNSET
    top_p: TopP | None | UnsetType = UNSET
    response_format: ResponseFormat | None | UnsetType = UNSET
    reasoning_effort: ReasoningEffort | None | UnsetType = UNSET
