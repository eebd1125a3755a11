"""The platform's OpenAPI documents as they should have been written.

The published documents contradict the platform they describe (and sometimes themselves), so they cannot
judge a server as they stand. ``V1`` and ``CURRENT`` list what is changed in each before it is used, one
patch a fault, each with its reason; a patch that no longer finds its place is an error. The documents
themselves are read where they lie and are never copied.
"""

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple

import yaml

from everloom.objects.keys import SCOPES
from everloom.objects.rules import HIGHEST, LIMITS
from tests.spec.newest import component, edit_as_json, gained, tuning_method
from tests.spec.spec import SPEC
from tests.spec.webhooks import WEBHOOKS

Json = dict[str, Any]
Dialect = Literal["assistants=v1", "assistants=v2"]

FILES: dict[Dialect, str] = {
    "assistants=v1": "openapi-assistants-v1.yaml",
    "assistants=v2": "openapi-2024-12.yaml",
}


class Patch(NamedTuple):
    """One change, as in JSON Patch: ``path`` is a JSON pointer below ``/components/schemas``.

    ``drop`` takes ``value`` out of an array, ``set`` puts ``value`` at ``path``, ``remove`` takes the
    member away, ``nullable`` lets null stand there too, ``rename`` gives the member another name.
    """

    op: Literal["drop", "set", "remove", "nullable", "rename"]
    path: str
    value: Any
    why: str


def _pages(*lists: str) -> list[Patch]:
    return [
        Patch("nullable", f"{name}/properties/{end}", None, "recorded: an empty list has neither first nor last id")
        for name in lists
        for end in ("first_id", "last_id")
    ]


def _budgets(*schemas: str) -> list[Patch]:
    return [
        Patch("set", f"{name}/properties/{budget}/minimum", 1, "recorded: the platform took 16; ours, from 1 on")
        for name in schemas
        for budget in ("max_prompt_tokens", "max_completion_tokens")
    ]


def _speech() -> list[Patch]:
    text = {"type": "string", "minLength": 1, "maxLength": 256}
    later = {
        "instructions": {"type": "string", "maxLength": 4096},
        "stream_format": {"type": "string", "enum": ["sse", "audio"]},
    }
    return [
        Patch(
            "set", "CreateSpeechRequest/properties/voice", text, "the platform has more since; upstreams have others"
        ),
        Patch("set", "CreateSpeechRequest/properties/input/minLength", 1, "there is no sound of nothing"),
        *(
            Patch("set", f"CreateSpeechRequest/properties/{name}", schema, "added in 2025; SDKs send it")
            for name, schema in later.items()
        ),
    ]


def _moderation() -> list[Patch]:
    result = "CreateModerationResponse/properties/results/items"
    why = "the text-moderation models did not return it"
    return [
        Patch("drop", f"{result}/required", "category_applied_input_types", why),
        *(
            Patch("drop", f"{result}/properties/{part}/required", category, why)
            for part in ("categories", "category_scores")
            for category in ("illicit", "illicit/violent")
        ),
    ]


def _completion() -> list[Patch]:
    choice = "CreateCompletionResponse/properties/choices/items/properties"
    first = "nothing stands before the first token of a prompt"
    return [
        Patch("nullable", f"{choice}/finish_reason", None, "a stream says null until a choice ends"),
        Patch("nullable", f"{choice}/logprobs/properties/token_logprobs/items", None, first),
        Patch("nullable", f"{choice}/logprobs/properties/top_logprobs/items", None, first),
        Patch("nullable", "CreateCompletionResponse/properties/usage", None, "a stream says null until its end"),
        Patch("nullable", "CreateCompletionRequest/properties/user", None, "ours: null is 'none', which clients send"),
    ]


_NEW_STORE = "file_search/properties/vector_stores/items/properties"


def _resources() -> list[Patch]:
    """Tool resources as a request may write them."""
    creations = ("CreateAssistantRequest", "CreateThreadRequest")
    requests = (*creations, "CreateThreadAndRunRequest", "ModifyAssistantRequest", "ModifyThreadRequest")
    place = "properties/tool_resources/properties"
    named = ("vector_store_ids", "vector_stores")
    either = {"required": [*named], "properties": {name: {"type": "array"} for name in named}}
    return [
        *(
            Patch("nullable", f"{request}/{place}/{tool}", None, "ours: null is 'none', which clients send")
            for request in requests
            for tool in ("code_interpreter", "file_search")
        ),
        *(
            Patch("nullable", f"{name}/{place}/{_NEW_STORE}/{field}", None, "ours: null is 'none', which clients send")
            for name in creations
            for field in ("chunking_strategy", "metadata")
        ),
        *(
            Patch("rename", f"{name}/{place}/file_search/oneOf", "not", "ours: {} is 'none', which clients send")
            for name in creations
        ),
        *(
            Patch("set", f"{name}/{place}/file_search/not", either, "either is what the oneOf was for, never both")
            for name in creations
        ),
    ]


_ENTRIES = ("CreateRunRequest", "CreateThreadAndRunRequest")

_COMMON = [
    *_pages("ListAssistantsResponse", "ListMessagesResponse", "ListRunsResponse", "ListRunStepsResponse"),
    *_budgets("RunObject", *_ENTRIES),
    Patch("nullable", "RunObject/properties/instructions", None, "recorded: null when the assistant has none"),
    Patch(
        "set",
        "RunStepObject/properties/expires_at",
        {"type": "integer", "nullable": True},
        "recorded on every step; the document forgot it",
    ),
    Patch("nullable", "FunctionObject/properties/description", None, "ours: null is 'none', which clients send"),
    Patch("nullable", "CreateThreadAndRunRequest/properties/thread", None, "ours: null is 'none', which clients send"),
    Patch(
        "set",
        "ErrorEvent/properties/data",
        {"$ref": "#/components/schemas/ErrorResponse"},
        "the official clients look for 'error' inside the data of an event",
    ),
]

V1 = [
    *_COMMON,
    *_pages("ListAssistantFilesResponse", "ListMessageFilesResponse"),
    *(
        Patch("drop", f"{name}/required", "thread_id", "required, and forbidden as unknown, at once")
        for name in _ENTRIES
    ),
    Patch("drop", "ListAssistantFilesResponse/required", "items", "required, and described nowhere"),
    Patch("drop", "ListMessageFilesResponse/required", "items", "required, and described nowhere"),
    Patch("remove", "CreateMessageRequest/properties/file_ids/default", None, "the default [] is below minItems"),
    Patch("set", "CreateMessageRequest/properties/file_ids/minItems", 0, "the default was [], so it can be sent"),
]

_NULLS_OF_STORES = {
    "CreateVectorStoreRequest": ("name", "expires_after", "chunking_strategy"),
    "CreateVectorStoreFileRequest": ("chunking_strategy",),
    "CreateVectorStoreFileBatchRequest": ("chunking_strategy",),
}

_NULLABLE_OF_IMAGES = {
    "quality": ("standard", "hd"),
    "response_format": ("url", "b64_json"),
    "size": ("256x256", "512x512", "1024x1024", "1792x1024", "1024x1792"),
    "style": ("vivid", "natural"),
}

_EFFORT = {"type": "string", "enum": ["none", "minimal", "low", "medium", "high", "xhigh", "max"], "nullable": True}
_EXPIRY = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "anchor": {"type": "string", "enum": ["created_at"]},
        "seconds": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
    },
    "required": ["anchor", "seconds"],
}
_PURPOSES = ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]


def _later() -> list[Patch]:
    """What Assistants, files, uploads and vector stores gained after December 2024."""
    why = "of the newest reference"
    efforts = ("CreateAssistantRequest", "ModifyAssistantRequest", *_ENTRIES)
    made = ["assistants_output", "batch_output", "fine-tune-results"]
    batch = "CreateVectorStoreFileBatchRequest/properties/file_ids/maxItems"
    return [
        *(Patch("set", f"{request}/properties/reasoning_effort", _EFFORT, why) for request in efforts),
        *(Patch("set", f"Create{noun}Request/properties/purpose/enum", _PURPOSES, why) for noun in ("File", "Upload")),
        Patch("set", "OpenAIFile/properties/purpose/enum", [*_PURPOSES, *made], why),
        Patch("set", "OpenAIFile/properties/expires_at", {"type": "integer"}, why),
        Patch("set", "CreateUploadRequest/properties/expires_after", _EXPIRY, why),
        Patch("set", "CreateVectorStoreRequest/properties/description", {"type": "string", "maxLength": 4096}, why),
        Patch("set", batch, 2000, why),
    ]


_NULLS_OF_BATCHES = (
    *("errors", "output_file_id", "error_file_id", "in_progress_at", "finalizing_at", "completed_at", "failed_at"),
    *("expired_at", "cancelling_at", "cancelled_at"),
)


def _batches() -> list[Patch]:
    return [
        *(
            Patch("nullable", f"Batch/properties/{name}", None, "recorded: null until then")
            for name in _NULLS_OF_BATCHES
        ),
        *_pages("ListBatchesResponse"),
    ]


def _fine_tuning() -> list[Patch]:
    """Fine-tuning jobs as the platform shows them, and what they have gained since."""
    job, event, request = "FineTuningJob/properties", "FineTuningJobEvent/properties", "CreateFineTuningJobRequest"
    why = "of the newest reference"
    metadata = {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 16, "nullable": True}
    events = "ListFineTuningJobEventsResponse"
    return [
        Patch("set", f"{job}/status/enum", [*_STATES_OF_JOBS, "paused"], "the newest reference's example of pausing"),
        Patch("set", f"{job}/method", {"$ref": "#/components/schemas/FineTuneMethod"}, why),
        Patch("set", f"{job}/metadata", metadata, why),
        Patch("set", f"{job}/user_provided_suffix", {"type": "string", "nullable": True}, "on the wire"),
        Patch("set", f"{event}/type", {"type": "string", "enum": ["message", "metrics"]}, why),
        Patch("set", f"{event}/data", {"type": "object", "nullable": True}, f"{why}, whose examples have null"),
        Patch("set", f"{event}/fine_tuning_job_id", {"type": "string"}, "ours: whose it is"),
        Patch("set", f"{events}/properties/has_more", {"type": "boolean"}, "SDKs turn pages by it"),
        Patch("set", f"{events}/required", ["object", "data", "has_more"], "SDKs turn pages by it"),
        *(
            Patch("set", f"{place}/additionalProperties", False, "ours: what a request does not have is refused")
            for place in (request, f"{request}/properties/hyperparameters")
        ),
        Patch("set", f"{request}/properties/integrations/maxItems", 0, "ours: there is none here"),
        Patch("set", f"{request}/properties/method", {"$ref": "#/components/schemas/NewFineTuneMethod"}, why),
        Patch("set", f"{request}/properties/metadata", metadata, why),
    ]


_STATES_OF_JOBS = ("validating_files", "queued", "running", "succeeded", "failed", "cancelled")

_LISTS_OF_ORGANIZATION = (
    *("Invite", "Project", "ProjectApiKey", "ProjectRateLimit", "ProjectServiceAccount", "ProjectUser", "User"),
)


def _organization() -> list[Patch]:
    """What the organization's half has gained since."""
    roles = ["owner", "member", "none"]
    granted = {
        "type": "array",
        "maxItems": 100,
        "items": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"id": {"type": "string"}, "role": {"type": "string", "enum": ["member", "owner"]}},
            "required": ["id", "role"],
        },
    }
    email = {"type": "string", "minLength": 3, "maxLength": 320, "pattern": "^[^\\s@]+@[^\\s@]+$"}
    named = ["ProjectCreateRequest", "ProjectUpdateRequest", "ProjectServiceAccountCreateRequest"]
    seconds = {"type": "integer", "minimum": 1, "maximum": 31_536_000}
    said = {"type": "string", "maxLength": 256}
    roles_of_users = ("UserRoleUpdateRequest", "ProjectUserUpdateRequest")
    return [
        *(
            Patch("set", f"ProjectRateLimitUpdateRequest/properties/{name}/{bound}", value, "ours: no other can hold")
            for name in LIMITS
            for bound, value in (("minimum", 0), ("maximum", HIGHEST))
        ),
        Patch("drop", "ProjectUpdateRequest/required", "name", "added in 2026: it may be left out"),
        *(Patch("drop", f"{name}/required", "role", "added in 2026: it may be left out") for name in roles_of_users),
        *(
            Patch("set", f"UserRoleUpdateRequest/properties/{name}", said, "added in 2026")
            for name in ("technical_level", "developer_persona")
        ),
        Patch("set", "ProjectServiceAccountCreateRequest/properties/expires_in_seconds", seconds, "added in 2026"),
        *_pages("ListAuditLogsResponse", *(f"{name}ListResponse" for name in _LISTS_OF_ORGANIZATION)),
        Patch("nullable", "Invite/properties/accepted_at", None, "the newest reference: null until then"),
        Patch("set", "Invite/properties/projects", granted, "added at the end of 2024"),
        Patch("set", "InviteRequest/properties/projects", granted, "added at the end of 2024"),
        Patch("set", "InviteRequest/properties/email", email, "ours: what can be no address is refused"),
        Patch("set", "ProjectServiceAccount/properties/role/enum", roles, "added in 2026"),
        Patch("set", "ProjectServiceAccountCreateResponse/properties/role/enum", ["member", "none"], "added in 2026"),
        Patch("nullable", "ProjectServiceAccountCreateResponse/properties/api_key", None, "added in 2026"),
        Patch(
            "set",
            "ProjectServiceAccountCreateRequest/properties/create_service_account_only",
            {"type": "boolean"},
            "added in 2026",
        ),
        Patch("set", "ProjectUserCreateRequest/properties/email", email, "added in 2026, in place of the id"),
        Patch("drop", "ProjectUserCreateRequest/required", "user_id", "added in 2026: or the email"),
        *(
            Patch(
                "set",
                f"{name}/properties/name",
                {"type": "string", "minLength": 1, "maxLength": 256},
                "ours: the document bounds no name",
            )
            for name in named
        ),
    ]


CURRENT = [
    *_COMMON,
    *_later(),
    *_organization(),
    *_batches(),
    *_fine_tuning(),
    *_pages("ListFilesResponse", "ListVectorStoresResponse", "ListVectorStoreFilesResponse"),
    Patch("rename", "UsageTimeBucket/properties/result", "results", "everything real says results"),
    Patch("drop", "UsageTimeBucket/required", "result", "everything real says results"),
    Patch("set", "CostsResult/required", ["object"], "requires 'sessions', which it does not have"),
    Patch("nullable", "UsageResponse/properties/next_page", None, "recorded: null on the last page"),
    *(
        Patch("nullable", f"CreateEmbeddingRequest/properties/{field}", None, "ours: null is 'none', as everywhere")
        for field in ("encoding_format", "dimensions", "user")
    ),
    Patch(
        "set",
        "CreateEmbeddingRequest/properties/encoding_format/enum",
        ["float", "base64", None],
        "ours: null is 'none', as everywhere",
    ),
    Patch(
        "set",
        "Embedding/properties/embedding",
        {"oneOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]},
        "the document forgot encoding_format base64, which the official clients ask for unasked",
    ),
    Patch("nullable", "VectorStoreObject/properties/name", None, "recorded: null without a name"),
    Patch("nullable", "VectorStoreObject/properties/expires_after", None, "recorded: null where nothing expires"),
    *(
        Patch("nullable", f"{request}/properties/{field}", None, "ours: null is 'none', which clients send")
        for request, fields in _NULLS_OF_STORES.items()
        for field in fields
    ),
    Patch(
        "set",
        "VectorStoreFileBatchObject/properties/object/enum",
        ["vector_store.files_batch", "vector_store.file_batch"],
        "the document says the one, the platform the other",
    ),
    Patch("remove", "ThreadStreamEvent/oneOf/0/properties/enabled", None, "a stray line"),
    Patch(
        "set",
        "CreateTranscriptionResponseVerboseJson/properties/duration",
        {"anyOf": [{"type": "number"}, {"type": "string"}]},
        "a number, whatever the document says",
    ),
    Patch(
        "set",
        "ResponseFormatJsonSchema/properties/json_schema/required",
        ["name"],
        "'type' stands one level above",
    ),
    Patch("nullable", "OpenAIFile/properties/status_details", None, "recorded: null"),
    Patch("nullable", "CreateImageRequest/properties/quality", None, "ours: null is 'none', which clients send"),
    *(
        Patch("nullable", f"{request}/properties/user", None, "ours: null is 'none', which clients send")
        for request in ("CreateImageRequest", "CreateImageEditRequest", "CreateImageVariationRequest")
    ),
    *(
        Patch("set", f"CreateImageRequest/properties/{name}/enum", [*values, None], "nullable, but for its own list")
        for name, values in _NULLABLE_OF_IMAGES.items()
    ),
    Patch("nullable", "CompleteUploadRequest/properties/md5", None, "ours: null is 'none', which clients send"),
    *_moderation(),
    *_speech(),
    *(
        Patch(
            "set",
            f"Create{name}ResponseJson/not",
            {"required": ["language"]},
            "an answer is one of the two forms, and every verbose one fits both",
        )
        for name in ("Transcription", "Translation")
    ),
    *_completion(),
    Patch("nullable", "CreateChatCompletionResponse/properties/usage", None, "an upstream may not count"),
    *_resources(),
    Patch(
        "remove",
        "ThreadObject/properties/tool_resources/properties/code_interpreter/properties/file_ids/maxItems",
        None,
        "a limit of requests: a thread gathers what its messages attach",
    ),
]

OVERLAYS: dict[Dialect, list[Patch]] = {"assistants=v1": V1, "assistants=v2": CURRENT}


def _answer(media: str, schema: Json) -> Json:
    return {"description": "OK", "content": {media: {"schema": schema}}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _closed(**properties: Json) -> Json:
    """An object with all of these members and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _parameter(name: str, place: str, type: str = "string") -> Json:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": type}}


_THREADS_PAGE = {
    "type": "object",
    "properties": {
        "object": {"type": "string", "enum": ["list"]},
        "data": {"type": "array", "items": _ref("ThreadObject")},
        "first_id": {"type": "string", "nullable": True},
        "last_id": {"type": "string", "nullable": True},
        "has_more": {"type": "boolean"},
    },
    "required": ["object", "data", "first_id", "last_id", "has_more"],
}

_MODEL_REQUEST = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string", "enum": ["thread.run.model_request"]},
        "created_at": {"type": "integer"},
        "run_id": {"type": "string"},
        "thread_id": {"type": "string"},
        "step_id": {"type": "string"},
        "exact": {"type": "boolean"},
        "dropped": {
            "type": "object",
            "properties": {"messages": {"type": "integer"}, "has_more": {"type": "boolean"}},
            "required": ["messages", "has_more"],
        },
        "missing": {
            "type": "object",
            "properties": {
                "messages": {"type": "integer"},
                "files": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["messages", "files"],
        },
        "finish_reason": {"type": "string"},
        "usage": {"type": "object"},
        "model": {"type": "string"},
        "messages": {"type": "array", "items": {"type": "object"}, "nullable": True},
        "tools": {"type": "array", "items": {"type": "object"}},
    },
    "required": [
        *("id", "object", "created_at", "run_id", "thread_id", "step_id", "exact", "dropped", "missing"),
        *("finish_reason", "usage", "model", "messages"),
    ],
}

_MODEL_REQUESTS_PAGE = {
    **_THREADS_PAGE,
    "properties": {**_THREADS_PAGE["properties"], "data": {"type": "array", "items": _MODEL_REQUEST}},  # type: ignore[dict-item]
}

_ATTRIBUTES = {
    "type": "object",
    "maxProperties": 16,
    "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]},
}

_TEXTS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"type": {"type": "string", "enum": ["text"]}, "text": {"type": "string"}},
        "required": ["type", "text"],
    },
}


def _whole_page(object: str, data: Json, **more: Json) -> Json:
    """A page behind which there is no other."""
    properties = {
        "object": {"type": "string", "enum": [object]},
        "data": data,
        "has_more": {"type": "boolean", "enum": [False]},
        "next_page": {"type": "string", "nullable": True},
        **more,
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


_SEARCH_RESULTS = _whole_page(
    "vector_store.search_results.page",
    {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "file_id": {"type": "string"},
                "filename": {"type": "string"},
                "score": {"type": "number", "minimum": 0, "maximum": 1},
                "attributes": _ATTRIBUTES,
                "content": _TEXTS,
            },
            "required": ["file_id", "filename", "score", "attributes", "content"],
        },
    },
    search_query={"type": "array", "items": {"type": "string"}, "minItems": 1},
)

_SEARCH = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "query": {"type": "string", "minLength": 1},
        "max_num_results": {"type": "integer", "minimum": 1, "maximum": 50, "nullable": True},
        "rewrite_query": {"type": "boolean", "nullable": True},
    },
    "required": ["query"],
}
"""Less than a request may say; filters have tests of their own."""

_STORE = _parameter("vector_store_id", "path")
_FILE_IN_STORE = [_STORE, _parameter("file_id", "path")]

_EVENT = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
"""One event of a stream, as the tools that read streams see it."""

_COMPLETION = _parameter("completion_id", "path")


def _stored_page(item: Json) -> Json:
    """A page of what ``store`` keeps."""
    ends = {end: {"type": "string", "nullable": True} for end in ("first_id", "last_id")}
    properties = {"object": {"type": "string", "enum": ["list"]}, "data": {"type": "array", "items": item}, **ends}
    properties["has_more"] = {"type": "boolean"}
    return {"type": "object", "properties": properties, "required": list(properties)}


_STORED_MESSAGE = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "role": {"type": "string"},
        "content": {"type": "string", "nullable": True},
        "refusal": {"type": "string", "nullable": True},
        "content_parts": {"type": "array", "items": {"type": "object"}, "nullable": True},
    },
    "required": ["id", "role", "content", "refusal", "content_parts"],
}

_CHANGED_METADATA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"metadata": {"type": "object", "additionalProperties": {"type": "string"}, "nullable": True}},
    "required": ["metadata"],
}

_STORED_COMPLETIONS: dict[tuple[str, str], Json] = {
    ("GET", "/chat/completions"): {
        "operationId": "listChatCompletions",
        "parameters": [_parameter(name, "query") for name in ("model", "after")],
        "responses": {"200": _answer("application/json", _stored_page(_ref("CreateChatCompletionResponse")))},
    },
    ("GET", "/chat/completions/{completion_id}"): {
        "operationId": "getChatCompletion",
        "parameters": [_COMPLETION],
        "responses": {"200": _answer("application/json", _ref("CreateChatCompletionResponse"))},
    },
    ("POST", "/chat/completions/{completion_id}"): {
        "operationId": "updateChatCompletion",
        "parameters": [_COMPLETION],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _CHANGED_METADATA}}},
        "responses": {"200": _answer("application/json", _ref("CreateChatCompletionResponse"))},
    },
    ("DELETE", "/chat/completions/{completion_id}"): {
        "operationId": "deleteChatCompletion",
        "parameters": [_COMPLETION],
        "responses": {
            "200": _answer(
                "application/json",
                {
                    "type": "object",
                    "properties": {
                        "object": {"type": "string", "enum": ["chat.completion.deleted"]},
                        "id": {"type": "string"},
                        "deleted": {"type": "boolean"},
                    },
                    "required": ["object", "id", "deleted"],
                },
            )
        },
    },
    ("GET", "/chat/completions/{completion_id}/messages"): {
        "operationId": "getChatCompletionMessages",
        "parameters": [_COMPLETION, _parameter("after", "query")],
        "responses": {"200": _answer("application/json", _stored_page(_STORED_MESSAGE))},
    },
}
"""What the newest reference has beside ``store``."""

_ADMIN_KEY = {
    "type": "object",
    "properties": {
        "object": {"type": "string", "enum": ["organization.admin_api_key"]},
        "id": {"type": "string"},
        "name": {"type": "string"},
        "redacted_value": {"type": "string"},
        "created_at": {"type": "integer"},
        "expires_at": {"type": "integer", "nullable": True},
        "last_used_at": {"type": "integer", "nullable": True},
        "owner": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["user"]},
                "object": {"type": "string", "enum": ["organization.user"]},
                "id": {"type": "string"},
                "name": {"type": "string"},
                "created_at": {"type": "integer"},
                "role": {"type": "string"},
            },
            "required": ["type", "object", "id", "name", "created_at", "role"],
            "additionalProperties": False,
        },
        "value": {"type": "string"},
    },
    "required": ["object", "id", "name", "redacted_value", "created_at", "expires_at", "last_used_at", "owner"],
    "additionalProperties": False,
}
_NAME = {"type": "string", "minLength": 1, "maxLength": 256}
_SECONDS = {"type": "integer", "minimum": 1, "maximum": 31_536_000}
_ACCOUNT = [_parameter("project_id", "path"), _parameter("service_account_id", "path")]


def _body(required: tuple[str, ...] = (), **properties: Json) -> Json:
    schema: Json = {"type": "object", "additionalProperties": False, "properties": properties}
    if required:
        schema["required"] = list(required)
    return {"required": bool(required), "content": {"application/json": {"schema": schema}}}


def _usage(name: str, *counted: str) -> Json:
    """A page of buckets with a kind of usage that came after 2024."""
    result: Json = {name: {"type": "integer"} for name in counted}
    result["object"] = {"type": "string", "enum": [f"organization.usage.{name}.result"]}
    bucket = {
        "object": {"type": "string", "enum": ["bucket"]},
        "start_time": {"type": "integer"},
        "end_time": {"type": "integer"},
        "results": {"type": "array", "items": {"type": "object", "properties": result, "required": list(result)}},
    }
    buckets = {"type": "array", "items": {"type": "object", "properties": bucket, "required": list(bucket)}}
    page = {
        "object": {"type": "string", "enum": ["page"]},
        "data": buckets,
        "has_more": {"type": "boolean"},
        "next_page": {"type": "string", "nullable": True},
    }
    schema = {"type": "object", "properties": page, "required": list(page)}
    start = {"name": "start_time", "in": "query", "required": True, "schema": {"type": "integer", "minimum": 0}}
    return {"parameters": [start], "responses": {"200": _answer("application/json", schema)}}


_ORGANIZATION: dict[tuple[str, str], Json] = {
    ("GET", "/organization/usage/file_search_calls"): {
        "operationId": "usageFileSearchCalls",
        **_usage("file_searches", "num_requests"),
    },
    ("GET", "/organization/usage/web_search_calls"): {
        "operationId": "usageWebSearchCalls",
        **_usage("web_searches", "num_requests", "num_model_requests"),
    },
    ("GET", "/organization/admin_api_keys"): {
        "operationId": "listAdminApiKeys",
        "parameters": [_parameter("after", "query")],
        "responses": {"200": _answer("application/json", _stored_page(_ADMIN_KEY))},
    },
    ("POST", "/organization/admin_api_keys"): {
        "operationId": "createAdminApiKey",
        "requestBody": _body(("name",), name=_NAME, expires_in_seconds=_SECONDS),
        "responses": {"200": _answer("application/json", {**_ADMIN_KEY, "required": list(_ADMIN_KEY["properties"])})},
    },
    ("GET", "/organization/admin_api_keys/{key_id}"): {
        "operationId": "retrieveAdminApiKey",
        "parameters": [_parameter("key_id", "path")],
        "responses": {"200": _answer("application/json", _ADMIN_KEY)},
    },
    ("DELETE", "/organization/admin_api_keys/{key_id}"): {
        "operationId": "deleteAdminApiKey",
        "parameters": [_parameter("key_id", "path")],
        "responses": {
            "200": _answer(
                "application/json",
                {
                    "type": "object",
                    "properties": {
                        "object": {"type": "string", "enum": ["organization.admin_api_key.deleted"]},
                        "id": {"type": "string"},
                        "deleted": {"type": "boolean"},
                    },
                    "required": ["object", "id", "deleted"],
                },
            )
        },
    },
    ("POST", "/organization/projects/{project_id}/service_accounts/{service_account_id}"): {
        "operationId": "updateProjectServiceAccount",
        "parameters": _ACCOUNT,
        "requestBody": _body(name=_NAME, role={"type": "string", "enum": ["member", "owner"]}),
        "responses": {"200": _answer("application/json", _ref("ProjectServiceAccount"))},
    },
    ("POST", "/organization/projects/{project_id}/service_accounts/{service_account_id}/api_keys"): {
        "operationId": "createProjectServiceAccountApiKey",
        "parameters": _ACCOUNT,
        "requestBody": _body(
            name=_NAME,
            scopes={"type": "array", "minItems": 1, "items": {"type": "string", "enum": list(SCOPES)}},
            expires_in_seconds=_SECONDS,
        ),
        "responses": {"200": _answer("application/json", _ref("ProjectServiceAccountApiKey"))},
    },
}
"""What the newest reference has in the organization's half, of the groups that are built."""

_BUDGET = _closed(
    object={"type": "string", "enum": ["organization.budget"]},
    id={"type": "string"},
    name={"type": "string"},
    spent_amount={"type": "number"},
    threshold_amount={"type": "integer", "nullable": True},
    currency={"type": "string", "enum": ["USD"]},
    interval={"type": "string", "enum": ["month"]},
    interval_start={"type": "integer"},
    enforcement=_closed(status={"type": "string", "enum": ["inactive", "enforcing"]}),
)

_FINDINGS = _closed(
    object={"type": "string", "enum": ["list"]},
    created_at={"type": "integer"},
    data={
        "type": "array",
        "items": _closed(
            object={"type": "string", "enum": ["organization.finding"]},
            level={"type": "string", "enum": ["ok", "note", "broken"]},
            subject={"type": "string"},
            text={"type": "string"},
            remedy={"type": "string", "nullable": True},
        ),
    },
)

_CATALOGUE_MODEL = _closed(
    object={"type": "string", "enum": ["organization.model"]},
    id={"type": "string"},
    does={"type": "string", "enum": ["chat", "speech", "transcription", "images"]},
    about={"type": "string"},
    licence={"type": "string"},
    extra={"type": "string", "nullable": True},
    usable={"type": "boolean"},
    status={"type": "string", "enum": ["available", "in_progress", "completed", "failed"]},
    bytes={"type": "integer"},
    received_bytes={"type": "integer"},
    error={"type": "string", "nullable": True},
)

_VERIFICATION = _closed(
    object={"type": "string", "enum": ["organization.audit_log.verification"]},
    status={"type": "string", "enum": ["in_progress", "completed"]},
    verified_at={"type": "integer", "nullable": True},
    rows={"type": "integer", "nullable": True},
    hash={"type": "string", "nullable": True},
    signed={
        **_closed(seq={"type": "integer"}, at={"type": "integer"}, key={"type": "string"}),
        "nullable": True,
    },
    faults={
        "type": "array",
        "items": _closed(seq={"type": "integer", "nullable": True}, text={"type": "string"}),
    },
    faults_total={"type": "integer"},
)

EXTENSIONS: dict[tuple[str, str], Json] = {
    **_STORED_COMPLETIONS,
    **_ORGANIZATION,
    **WEBHOOKS,
    ("GET", "/organization/budget"): {
        "operationId": "retrieveBudget",
        "responses": {"200": _answer("application/json", _BUDGET)},
    },
    ("GET", "/organization/budgets"): {
        "operationId": "listBudgets",
        "parameters": [_parameter("limit", "query", "integer"), _parameter("after", "query")],
        "responses": {
            "200": _answer(
                "application/json",
                _closed(
                    object={"type": "string", "enum": ["list"]},
                    data={"type": "array", "items": _BUDGET},
                    first_id={"type": "string", "nullable": True},
                    last_id={"type": "string", "nullable": True},
                    has_more={"type": "boolean"},
                ),
            )
        },
    },
    ("GET", "/organization/doctor"): {
        "operationId": "getDoctor",
        "responses": {"200": _answer("application/json", _FINDINGS)},
    },
    ("GET", "/organization/models"): {
        "operationId": "listCatalogueModels",
        "responses": {
            "200": _answer(
                "application/json",
                _closed(object={"type": "string", "enum": ["list"]}, data={"type": "array", "items": _CATALOGUE_MODEL}),
            )
        },
    },
    ("POST", "/organization/models/{model}/pull"): {
        "operationId": "pullCatalogueModel",
        "parameters": [_parameter("model", "path")],
        "responses": {"200": _answer("application/json", _CATALOGUE_MODEL)},
    },
    ("GET", "/organization/audit_logs/verification"): {
        "operationId": "getAuditLogVerification",
        "responses": {"200": _answer("application/json", _VERIFICATION)},
    },
    ("POST", "/batches/{batch_id}/retry"): {
        "operationId": "retryBatch",
        "parameters": [_parameter("batch_id", "path")],
        "responses": {"200": _answer("application/json", _ref("Batch"))},
    },
    ("GET", "/threads"): {
        "operationId": "listThreads",
        "parameters": [_parameter("after", "query"), _parameter("before", "query")],
        "responses": {"200": _answer("application/json", _THREADS_PAGE)},
    },
    ("GET", "/threads/{thread_id}/runs/{run_id}/model_requests"): {
        "operationId": "listModelRequests",
        "parameters": [
            _parameter("thread_id", "path"),
            _parameter("run_id", "path"),
            _parameter("after", "query"),
        ],
        "responses": {"200": _answer("application/json", _MODEL_REQUESTS_PAGE)},
    },
    ("GET", "/threads/{thread_id}/runs/{run_id}/events"): {
        "operationId": "listRunEvents",
        "parameters": [
            _parameter("thread_id", "path"),
            _parameter("run_id", "path"),
            _parameter("after", "query", "integer"),
        ],
        "responses": {"200": _answer("text/event-stream", _EVENT)},
    },
    ("POST", "/vector_stores/{vector_store_id}/search"): {
        "operationId": "searchVectorStore",
        "parameters": [_STORE],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _SEARCH}}},
        "responses": {"200": _answer("application/json", _SEARCH_RESULTS)},
    },
    ("POST", "/vector_stores/{vector_store_id}/files/{file_id}"): {
        "operationId": "updateVectorStoreFileAttributes",
        "parameters": _FILE_IN_STORE,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"attributes": {**_ATTRIBUTES, "nullable": True}},
                        "required": ["attributes"],
                    }
                }
            },
        },
        "responses": {"200": _answer("application/json", _ref("VectorStoreFileObject"))},
    },
    ("GET", "/vector_stores/{vector_store_id}/files/{file_id}/content"): {
        "operationId": "retrieveVectorStoreFileContent",
        "parameters": _FILE_IN_STORE,
        "responses": {"200": _answer("application/json", _whole_page("vector_store.file_content.page", _TEXTS))},
    },
}
"""Operations that only this server has, and those that the platform added in 2025."""

_LATER: dict[Dialect, tuple[tuple[str, str], ...]] = {
    "assistants=v1": (("DELETE", "/threads/{thread_id}/messages/{message_id}"),),
    "assistants=v2": (),
}
"""What the reference has under the current form alone, and this server does not keep from the older one."""

_SPEECH_EVENT = {
    "oneOf": [
        {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["speech.audio.delta"]},
                "audio": {"type": "string", "pattern": "^[A-Za-z0-9+/]+=*$"},
            },
            "required": ["type", "audio"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["speech.audio.done"]},
                "usage": {
                    "type": "object",
                    "properties": {f"{kind}_tokens": {"type": "integer"} for kind in ("input", "output", "total")},
                    "required": ["input_tokens", "output_tokens", "total_tokens"],
                },
            },
            "required": ["type", "usage"],
            "additionalProperties": False,
        },
    ]
}
"""The platform added streams of speech in 2025."""

_SOUNDS = ("audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/wav", "audio/pcm")

_TRANSCRIPTION_EVENT = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"type": {"type": "string", "enum": [f"transcript.text.{kind}"]}, member: {"type": "string"}},
            "required": ["type", member],
        }
        for kind, member in (("delta", "delta"), ("done", "text"))
    ]
}
"""The platform added streams of transcriptions in 2025."""

STREAMS = {
    "createChatCompletion": "CreateChatCompletionStreamResponse",
    "createCompletion": "CreateCompletionResponse",
    "createSpeech": "SpeechStreamEvent",
    "createTranscription": "TranscriptionStreamEvent",
    "createThreadAndRun": "AssistantStreamEvent",
    "createRun": "AssistantStreamEvent",
    "submitToolOuputsToRun": "AssistantStreamEvent",
    "listRunEvents": "AssistantStreamEvent",
}
"""What the events of a stream are, by operation; the documents tell it in prose alone."""


@cache
def document(dialect: Dialect) -> Json:
    """The document of this form of the API, patched. Not to be changed by its callers."""
    found = _read(dialect)
    schemas: Json = found["components"]["schemas"]
    schemas.setdefault(
        "ErrorResponse", {"type": "object", "properties": {"error": _ref("Error")}, "required": ["error"]}
    )
    schemas["SpeechStreamEvent"] = _SPEECH_EVENT
    schemas["TranscriptionStreamEvent"] = _TRANSCRIPTION_EVENT
    for patch in OVERLAYS[dialect]:
        _apply(schemas, patch)
    for (method, path), operation in {**EXTENSIONS, **gained()}.items():
        found["paths"].setdefault(path, {})[method.lower()] = copy.deepcopy(operation)
    if dialect == "assistants=v2":
        schemas |= {"FineTuneMethod": component("FineTuneMethod"), "NewFineTuneMethod": tuning_method()}
        edit = found["paths"]["/images/edits"]["post"]["requestBody"]
        edit["content"]["application/json"] = {"schema": edit_as_json()}
    for method, path in _LATER[dialect]:
        later = copy.deepcopy(document("assistants=v2")["paths"][path][method.lower()])
        schemas["DeleteMessageResponse"] = document("assistants=v2")["components"]["schemas"]["DeleteMessageResponse"]
        found["paths"][path][method.lower()] = later
    for operation in _operations(found):
        _complete(operation, schemas)
        _let_nulls_in(operation, schemas)
    _free_siblings(found)
    return found


def _read(dialect: Dialect) -> Json:
    with (SPEC / FILES[dialect]).open(encoding="utf-8") as file:
        found: Json = yaml.load(file, yaml.CSafeLoader)
    return found


def _operations(found: Json) -> Iterator[Json]:
    for item in found["paths"].values():
        for operation in item.values():
            if isinstance(operation, dict):
                yield operation


def _complete(operation: Json, schemas: Json) -> None:
    """Say what the documents leave out of every operation: errors, streams, the bytes of files, bodies left out."""
    error = _answer("application/json", _ref("ErrorResponse"))
    responses = operation["responses"]
    responses["4XX"] = responses["5XX"] = error
    if operation["operationId"] in STREAMS:
        responses["200"]["content"]["text/event-stream"] = {"schema": _EVENT}
    binary = {"schema": {"type": "string", "format": "binary"}}
    if operation["operationId"] == "downloadFile":
        responses["200"]["content"] = {"application/octet-stream": binary}
    if operation["operationId"] == "createSpeech":
        responses["200"]["content"] |= dict.fromkeys(_SOUNDS, binary)
    if operation["operationId"] in ("createTranscription", "createTranslation"):
        responses["200"]["content"]["text/plain"] = {"schema": {"type": "string"}}
    request = operation.get("requestBody")
    if request is not None and "application/json" in request["content"]:
        schema = request["content"]["application/json"]["schema"]
        # The reference's own examples send no body where nothing in it is required.
        request["required"] = bool(schemas.get(schema.get("$ref", "").rpartition("/")[2], schema).get("required"))


def _let_nulls_in(operation: Json, schemas: Json) -> None:
    """Ours: null for what need not be given is "not given", in every body. What schemas share with answers stays."""
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        content["application/json"]["schema"] = _with_nulls(content["application/json"]["schema"], schemas)


def _with_nulls(node: Any, schemas: Json) -> Any:
    if isinstance(node, list):
        return [_with_nulls(child, schemas) for child in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        beside = {name: value for name, value in node.items() if name != "$ref"}
        return _with_nulls({**schemas[node["$ref"].rpartition("/")[2]], **beside}, schemas)
    found: Json = {name: _with_nulls(child, schemas) for name, child in node.items()}
    properties = found.get("properties")
    if isinstance(properties, dict) and node.get("type", "object") == "object":
        for name in properties.keys() - set(found.get("required", ())):
            values = properties[name].get("enum")
            more = {} if values is None or None in values else {"enum": [*values, None]}
            properties[name] = {**properties[name], **more, "nullable": True}
    return found


def _apply(schemas: Json, patch: Patch) -> None:
    *parents, name = patch.path.split("/")
    place: Any = schemas
    for part in parents:
        place = place[int(part) if isinstance(place, list) else part]
    if patch.op == "set":
        if place.get(name) == patch.value:
            raise LookupError(f"{patch.path} is so already: the patch is not needed")
        place[name] = patch.value
    elif patch.op == "drop":
        place[name].remove(patch.value)
    elif patch.op == "remove":
        del place[name]
    elif patch.op == "rename":
        place[patch.value] = place.pop(name)
    else:
        if place[name].get("nullable"):
            raise LookupError(f"{patch.path} is nullable already: the patch is not needed")
        place[name] = {**place[name], "nullable": True}


def _free_siblings(node: Any) -> None:
    """Make ``nullable`` beside ``$ref`` count, which OpenAPI 3.0 passes over."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        _free_siblings(child)
    if isinstance(node, dict) and "$ref" in node and node.get("nullable"):
        node["anyOf"] = [{"$ref": node.pop("$ref")}]
