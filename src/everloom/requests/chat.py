"""Chat completions: what a request may say (CreateChatCompletionRequest), and what its parameters ask of each other."""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from everloom.kit.errors import BadRequest
from everloom.objects.base import JsonObject, Metadata, encode
from everloom.objects.tools import FunctionDefinition, FunctionName
from everloom.requests.binding import read_body, said_once


class TextPart(Struct, tag="text"):
    text: str


class ChatImageUrl(Struct):
    url: str
    detail: str | None = None


class ImagePart(Struct, tag="image_url"):
    image_url: ChatImageUrl


class AudioPart(Struct, tag="input_audio"):
    input_audio: JsonObject


class FilePart(Struct, tag="file"):
    file: JsonObject


class RefusalPart(Struct, tag="refusal"):
    refusal: str


Texts = str | list[TextPart]


class SystemMessage(Struct, tag_field="role", tag="system"):
    content: Texts


class DeveloperMessage(Struct, tag_field="role", tag="developer"):
    content: Texts


class UserMessage(Struct, tag_field="role", tag="user"):
    content: str | list[TextPart | ImagePart | AudioPart | FilePart]


class CalledFunction(Struct):
    name: str
    arguments: str


class CalledTool(Struct):
    id: str
    type: str
    function: CalledFunction | None = None


class AssistantMessage(Struct, tag_field="role", tag="assistant"):
    content: str | list[TextPart | RefusalPart] | None = None
    tool_calls: list[CalledTool] | None = None
    function_call: CalledFunction | None = None


class ToolMessage(Struct, tag_field="role", tag="tool"):
    content: Texts
    tool_call_id: str


class FunctionMessage(Struct, tag_field="role", tag="function"):
    content: str | None
    name: str


ChatMessage = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage


class ChatFunctionTool(Struct, tag="function"):
    function: FunctionDefinition


class ChatCustomTool(Struct, tag="custom"):
    custom: JsonObject


class StreamOptions(Struct):
    include_usage: bool | None = None


class ChatToolChoice(Struct):
    type: str
    function: FunctionName | None = None


class ChatSchema(Struct):
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]
    description: str | None = None
    schema: JsonObject | None = None
    strict: bool | None = None


class TextFormat(Struct, tag="text"):
    pass


class JsonObjectFormat(Struct, tag="json_object"):
    pass


class ChatJsonSchemaFormat(Struct, tag="json_schema"):
    json_schema: ChatSchema


class AudioOutput(Struct):
    voice: str | JsonObject
    format: Literal["wav", "mp3", "flac", "opus", "pcm16", "aac"]


class Prediction(Struct):
    type: Literal["content"]
    content: Texts


_TOKEN_ID = re.compile(r"[0-9]{1,9}")

Penalty = Annotated[float, Meta(ge=-2, le=2)] | None
Positive = Annotated[int, Meta(ge=1)] | None


class NewChatCompletion(Struct, kw_only=True, forbid_unknown_fields=True):
    """CreateChatCompletionRequest of December 2024, and behind it what later SDKs send (passed on unread)."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    model: str
    store: bool | None = None
    metadata: Metadata | None = None
    frequency_penalty: Penalty = None
    logit_bias: dict[str, Annotated[int, Meta(ge=-100, le=100)]] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    max_tokens: Positive = None
    max_completion_tokens: Positive = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    prediction: Prediction | None = None
    audio: AudioOutput | None = None
    presence_penalty: Penalty = None
    response_format: TextFormat | JsonObjectFormat | ChatJsonSchemaFormat | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None
    stop: str | Annotated[list[str], Meta(min_length=1, max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    tools: Annotated[list[ChatFunctionTool | ChatCustomTool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChatToolChoice | None = None
    parallel_tool_calls: bool | None = None
    user: str | None = None
    function_call: Literal["none", "auto"] | FunctionName | None = None
    functions: Annotated[list[FunctionDefinition], Meta(min_length=1, max_length=128)] | None = None
    reasoning_effort: str | None | UnsetType = UNSET
    verbosity: str | None | UnsetType = UNSET
    web_search_options: JsonObject | None | UnsetType = UNSET
    prompt_cache_key: str | None | UnsetType = UNSET
    prompt_cache_options: JsonObject | None | UnsetType = UNSET
    prompt_cache_retention: str | None | UnsetType = UNSET
    safety_identifier: str | None | UnsetType = UNSET
    moderation: JsonObject | None | UnsetType = UNSET


def read(raw: bytes) -> JsonObject:
    """The body of a createChatCompletion request as a model is asked it, every member as it was sent.

    Errors: the platform's 400.
    """
    return read_with_bytes(raw)[0]


def read_with_bytes(raw: bytes) -> tuple[JsonObject, bytes]:
    """As ``read``, and the bytes that say the same: those that came, but for what ``read_body`` leaves out."""
    request, raw = read_body(raw, NewChatCompletion)
    check(request)
    body: JsonObject = msgspec.json.decode(raw)
    return body, said_once(raw, body, _TELLING)


_TELLING = (
    *(b'"model"', b'"messages"', b'"n"', b'"max_tokens"', b'"max_completion_tokens"'),
    *(b'"stream"', b'"stream_options"', b'"tools"', b'"store"', b'"modalities"'),
)
"""What decides whether a request may be made, and what it may cost."""


def check(body: NewChatCompletion) -> None:
    """What a parameter asks of the others, in the platform's words."""
    if body.top_logprobs is not None and not body.logprobs:
        raise _only_with("top_logprobs", "logprobs")
    if body.stream_options is not None and not body.stream:
        raise _only_with("stream_options", "stream")
    if body.metadata and not body.store:
        raise _only_with("metadata", "store")
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise BadRequest(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            param="max_tokens",
            code="invalid_parameter_combination",
        )
    if "audio" in (body.modalities or ()) and body.audio is None:
        raise BadRequest("Missing required parameter: 'audio'.", param="audio", code="missing_required_parameter")
    if body.logit_bias:
        _check_bias(body.logit_bias)
    if body.functions is not None or body.function_call is not None:
        _check_functions(body)
    if body.tool_choice is not None or body.parallel_tool_calls is not None:
        _check_tools(body)
    _check_answers(body.messages)
    if isinstance(body.response_format, JsonObjectFormat) and b"json" not in encode(body.messages).lower():
        raise BadRequest(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            param="messages",
        )


def _check_bias(bias: dict[str, int]) -> None:
    for key in bias:
        if not _TOKEN_ID.fullmatch(key):
            raise BadRequest(
                f"Invalid key in 'logit_bias': {key[:64]}. You should only be submitting non-negative integers.",
                param="logit_bias",
                code="invalid_value",
            )


def _check_functions(body: NewChatCompletion) -> None:
    if body.functions is not None and body.tools is not None:
        raise BadRequest(
            "'functions' and 'tools' cannot both be specified: 'tools' replaces 'functions'.",
            param="functions",
            code="invalid_parameter_combination",
        )
    choice = body.function_call
    if choice is None or choice == "none":
        return
    if body.functions is None:
        text = "Invalid value for 'function_call': 'function_call' is only allowed when 'functions' are specified."
        raise BadRequest(text, param="function_call")
    if isinstance(choice, FunctionName) and choice.name not in {function.name for function in body.functions}:
        text = f"Invalid value for 'function_call': no function named '{choice.name}' was specified."
        raise BadRequest(text, param="function_call")


def _check_tools(body: NewChatCompletion) -> None:
    for name in ("tool_choice", "parallel_tool_calls"):
        if getattr(body, name) is not None and body.tools is None and body.tool_choice != "none":
            raise BadRequest(
                f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.", param=name
            )
    choice = body.tool_choice
    if isinstance(choice, ChatToolChoice) and choice.function is not None:
        names = {tool.function.name for tool in body.tools or () if isinstance(tool, ChatFunctionTool)}
        if choice.function.name not in names:
            raise BadRequest(
                f"Tool choice '{choice.function.name}' not found in 'tools' parameter.", param="tool_choice"
            )


def _check_answers(messages: list[ChatMessage]) -> None:
    """Every tool call is answered before anybody speaks again, and nothing else is."""
    open_calls: set[str] = set()
    called = False
    for index, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            if not called:
                raise BadRequest(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                    "'tool_calls'.",
                    param=f"messages.[{index}].role",
                )
            open_calls.discard(message.tool_call_id)
            continue
        if open_calls:
            raise _unanswered(open_calls, index)
        calls = message.tool_calls if isinstance(message, AssistantMessage) else None
        called = bool(calls)
        open_calls = {call.id for call in calls or ()}
    if open_calls:
        raise _unanswered(open_calls, len(messages))


def _unanswered(ids: set[str], index: int) -> BadRequest:
    return BadRequest(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(sorted(ids))}",
        param=f"messages.[{index}].role",
    )


def _only_with(name: str, other: str) -> BadRequest:
    text = f"The '{name}' parameter is only allowed when '{other}' is enabled."
    return BadRequest(text, param=name, code="invalid_value")
