"""Tools an assistant may hold, and how a model's answer is to be shaped (CreateAssistantRequest.tools)."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from everloom.objects.base import JsonObject, Metadata
from everloom.objects.vector_stores import ChunkingRequest


class FunctionDefinition(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A function the model may ask the caller to run; ``parameters`` is a JSON schema."""

    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]
    description: str | None = None
    parameters: JsonObject | UnsetType = UNSET
    strict: bool | None | UnsetType = UNSET


class FunctionTool(Struct, kw_only=True, tag="function", forbid_unknown_fields=True):
    function: FunctionDefinition


class CodeInterpreterTool(Struct, kw_only=True, tag="code_interpreter", forbid_unknown_fields=True):
    pass


class RankingOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    score_threshold: Annotated[float, Meta(ge=0, le=1)]
    ranker: Literal["auto", "default_2024_08_21"] = "auto"


def _usual_ranking() -> RankingOptions:
    """What the platform was recorded to show where nobody had said anything."""
    return RankingOptions(ranker="default_2024_08_21", score_threshold=0.0)


class FileSearchOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    max_num_results: Annotated[int, Meta(ge=1, le=50)] | UnsetType = UNSET
    ranking_options: RankingOptions = field(default_factory=_usual_ranking)


class FileSearchTool(Struct, kw_only=True, tag="file_search", forbid_unknown_fields=True):
    file_search: FileSearchOptions = field(default_factory=FileSearchOptions)


Tool = CodeInterpreterTool | FileSearchTool | FunctionTool


class CodeInterpreterResources(Struct, kw_only=True):
    file_ids: list[str] = []


class FileSearchResources(Struct, kw_only=True):
    vector_store_ids: list[str] = []


class ToolResources(Struct, kw_only=True, omit_defaults=True):
    """What the tools may reach: files for the code interpreter, vector stores for file search."""

    code_interpreter: CodeInterpreterResources | UnsetType = UNSET
    file_search: FileSearchResources | UnsetType = UNSET


class GivenCodeInterpreterResources(Struct, kw_only=True, forbid_unknown_fields=True):
    file_ids: Annotated[list[str], Meta(max_length=20)] = []


class GivenFileSearchResources(Struct, kw_only=True, forbid_unknown_fields=True):
    vector_store_ids: Annotated[list[str], Meta(max_length=1)] = []


class GivenToolResources(Struct, kw_only=True, forbid_unknown_fields=True):
    """Tool resources as a request names them, within its limits; a thread may gather more over time."""

    code_interpreter: GivenCodeInterpreterResources | None = None
    file_search: GivenFileSearchResources | None = None


class InlineVectorStore(Struct, kw_only=True, forbid_unknown_fields=True):
    """A vector store made on the fly for the files named in it."""

    file_ids: Annotated[list[str], Meta(max_length=10_000)] = []
    chunking_strategy: ChunkingRequest | None = None
    metadata: Metadata | None = None


class NewFileSearchResources(Struct, kw_only=True, forbid_unknown_fields=True):
    vector_store_ids: Annotated[list[str], Meta(max_length=1)] = []
    vector_stores: Annotated[list[InlineVectorStore], Meta(max_length=1)] = []


class NewToolResources(Struct, kw_only=True, forbid_unknown_fields=True):
    """Tool resources as a creation writes them: vector stores may be named or described."""

    code_interpreter: GivenCodeInterpreterResources | None = None
    file_search: NewFileSearchResources | None = None


class ResponseFormatText(Struct, kw_only=True, tag="text", forbid_unknown_fields=True):
    pass


class ResponseFormatJsonObject(Struct, kw_only=True, tag="json_object", forbid_unknown_fields=True):
    pass


class JsonSchemaFormat(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]
    description: str | UnsetType = UNSET
    schema: JsonObject | UnsetType = UNSET
    strict: bool | None | UnsetType = UNSET


class ResponseFormatJsonSchema(Struct, kw_only=True, tag="json_schema", forbid_unknown_fields=True):
    json_schema: JsonSchemaFormat


ResponseFormat = Literal["auto"] | ResponseFormatText | ResponseFormatJsonObject | ResponseFormatJsonSchema


class FunctionName(Struct, kw_only=True, forbid_unknown_fields=True):
    name: str


class NamedToolChoice(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Force one tool; ``function`` names which when ``type`` is ``function``."""

    type: Literal["function", "code_interpreter", "file_search"]
    function: FunctionName | UnsetType = UNSET


ToolChoice = Literal["none", "auto", "required"] | NamedToolChoice


class TruncationStrategy(Struct, kw_only=True, forbid_unknown_fields=True):
    """How a thread is cut to fit: ``auto`` drops old messages, ``last_messages`` keeps that many."""

    type: Literal["auto", "last_messages"] = "auto"
    last_messages: Annotated[int, Meta(ge=1)] | None = None


class Usage(Struct, kw_only=True):
    """Tokens, counted by the model's own tokenizer or reported by its server."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
        )


class EstimatedUsage(Usage, kw_only=True):
    """Tokens that nobody counted: the prompt's from its characters, the answer's from the events of its stream."""
