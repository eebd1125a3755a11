"""A request of the reference, turned into one that llama.cpp understands, and nothing of it lost on the way."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from everloom.kit.errors import BadRequest
from everloom.models.llama import grammar, schemas, tools_prompt
from everloom.models.llama.grammar import Grammar
from everloom.models.llama.messages import engine_messages, with_system
from everloom.models.llama.sampling import Sampling
from everloom.models.llama.tool_arguments import ToolSchemas
from everloom.objects.base import JsonObject

Compiles = Callable[[Grammar], Awaitable[bool]]
"""Whether the engine can decode by a grammar."""

_AS_THEY_ARE = frozenset({"stop", "frequency_penalty", "presence_penalty", "logit_bias"})
_HONOURED_HERE = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "n",
        "temperature",
        "top_p",
        "seed",
        "max_tokens",
        "max_completion_tokens",
        "logprobs",
        "top_logprobs",
        "response_format",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "functions",
        "function_call",
    }
)
_THE_SERVERS = frozenset({"user", "safety_identifier", "prompt_cache_key", "store", "metadata", "service_tier"})
"""Not the model's business: who asks, what is kept, and hints that change no answer."""
_TIERS = ("auto", "default")

_RANDOM_SEED = 2**32 - 1
_WHOLE_TEXT = 1 << 17
_NO_PARAMETERS: JsonObject = {"type": "object", "properties": {}, "additionalProperties": False}
_ANY_OBJECT: JsonObject = {"type": "object"}


class TemplateFeatures(Struct, frozen=True, kw_only=True):
    """What a model and its template know of functions and tokens."""

    knows_tools: bool
    """The template has a place for tools."""
    marks_calls: bool = False
    """It was trained to write calls in the form of ``tools_prompt.py``, so that we can read and constrain them."""
    end_token: int = 0
    vocabulary: int | None = None
    """How many tokens there are, where that is known."""
    system: str = ""
    """The system text of a conversation that has none; empty: as the template has it."""


class EngineRequest(Struct, frozen=True, kw_only=True):
    """What the engine is asked, and how its words are to be read."""

    body: JsonObject
    names: list[str] = []
    """The functions that may be called in our own format; none where the engine reads the calls itself."""
    must_call: bool = False
    schemas: ToolSchemas | None = None
    """By which calls are read that are not in our format; None where there are none to be expected."""
    most_calls: int = grammar.MOST_CALLS
    old_style: bool = False
    """Calls are told as ``function_call``, as requests with ``functions`` expect."""


class Wanted(Struct, frozen=True, kw_only=True):
    """Which functions the answer may or must call."""

    functions: list[JsonObject] = []
    must: bool = False
    parallel: bool = True
    param: str = "tools"


def read_tools(body: JsonObject) -> Wanted:
    """``tools`` and ``tool_choice``, or their ancestors ``functions`` and ``function_call``, in one form."""
    old = body.get("functions") is not None
    functions = body["functions"] if old else [tool["function"] for tool in body.get("tools") or []]
    choice: Any = body.get("function_call" if old else "tool_choice") or "auto"
    if choice == "none" or not functions:
        return Wanted()
    if isinstance(choice, dict):
        name = choice.get("name") if old else choice.get("function", {}).get("name")
        functions = [function for function in functions if function["name"] == name]
        if not functions:
            param = "function_call" if old else "tool_choice"
            raise BadRequest(f"Invalid value for '{param}': no function named '{name}' was specified.", param=param)
    return Wanted(
        functions=functions,
        must=isinstance(choice, dict) or choice == "required",
        parallel=not old and body.get("parallel_tool_calls") is not False,
        param="functions" if old else "tools",
    )


def prompt(body: JsonObject, talk: TemplateFeatures) -> JsonObject:
    """The part of the engine's request that makes the prompt. Refuses schemas that the engine cannot be given."""
    asked = _prompt(body, talk)
    if talk.system and asked["messages"][:1] and asked["messages"][0]["role"] != "system":
        asked["messages"] = [{"role": "system", "content": talk.system}, *asked["messages"]]
    return asked


def _prompt(body: JsonObject, talk: TemplateFeatures) -> JsonObject:
    wanted = read_tools(body)
    _check_schemas(body, wanted)
    native = _is_native(wanted, talk)
    messages = engine_messages(body["messages"], keep_calls=talk.knows_tools)
    schema = _schema_of(body)
    if schema and body["response_format"]["type"] == "json_schema" and not native:
        messages = with_system(messages, "Answer with JSON only, by this JSON schema:\n" + grammar.shown(schema))
    if not wanted.functions:
        return {"messages": messages}
    if talk.knows_tools:
        functions = [_complete(function) for function in wanted.functions]
        if talk.marks_calls:  # to the template alone: what llama.cpp itself does with tools is not needed
            return {"messages": messages, "chat_template_kwargs": {"tools": _tools(functions)}}
        tools = _tools(map(_simple, functions))
        # llama.cpp does not enforce "required": with "none" it still shows the tools, and our grammar does the rest.
        choice = "auto" if native else "none"
        return {"messages": messages, "tools": tools, "tool_choice": choice, "parallel_tool_calls": wanted.parallel}
    return {"messages": _explained(messages, wanted.functions)}


async def translate(body: JsonObject, talk: TemplateFeatures, compiles: Compiles, sampling: Sampling) -> EngineRequest:
    """The whole request for the engine. Refuses what it cannot honour. ``sampling``: where the request does not say."""
    refuse_unknown(body)
    _check_bias(body.get("logit_bias") or {}, talk.vocabulary)
    wanted = read_tools(body)
    asked = {**prompt(body, talk), **_sampling(body, sampling)}
    if _is_native(wanted, talk):
        if body.get("logprobs"):
            raise _unsupported("logprobs", "together with tools on this model")
        if (schema := _schema_of(body)) is not None:
            if not schemas.is_simple(schema):
                raise _unsupported("response_format", "with references or patterns together with tools on this model")
            asked["response_format"] = body["response_format"]
        return EngineRequest(body=asked, old_style=body.get("functions") is not None)
    rules = await _rules(body, wanted, talk, compiles)
    if rules is not None:
        asked["grammar"] = rules.text(talk.end_token)
    return EngineRequest(
        body=asked,
        names=[function["name"] for function in wanted.functions],
        must_call=wanted.must,
        schemas=_free_calls(body, wanted),
        most_calls=grammar.MOST_CALLS if wanted.parallel else 1,
        old_style=body.get("functions") is not None,
    )


def _free_calls(body: JsonObject, wanted: Wanted) -> ToolSchemas | None:
    """What may be called in forms that no grammar holds: nothing where calls are forced, or the text is by a schema."""
    if wanted.must or (body.get("response_format") or {}).get("type") == "json_schema":
        return None
    return ToolSchemas({function["name"]: _complete(function)["parameters"] for function in wanted.functions})


def _is_native(wanted: Wanted, talk: TemplateFeatures) -> bool:
    """Whether llama.cpp reads the calls, in a form that only the model's own template knows."""
    return talk.knows_tools and not talk.marks_calls and bool(wanted.functions) and not wanted.must


def _check_schemas(body: JsonObject, wanted: Wanted) -> None:
    schema = _schema_of(body)
    if schema is not None and (fault := schemas.fault(schema)):
        name = (body["response_format"].get("json_schema") or {}).get("name")
        raise BadRequest(f"Invalid schema for response_format '{name}': {fault}.", param="response_format")
    for index, function in enumerate(wanted.functions):
        if fault := schemas.fault(function.get("parameters") or {}):
            raise _bad_parameters(wanted, index, function["name"], fault)


def _check_bias(bias: JsonObject, vocabulary: int | None) -> None:
    for key in bias:
        if vocabulary is not None and int(key) >= vocabulary:
            raise BadRequest(
                f"Invalid key in 'logit_bias': {key}. Maximum value is {vocabulary - 1}.",
                param="logit_bias",
                code="invalid_value",
            )


def _tools(functions: Iterable[JsonObject]) -> list[JsonObject]:
    return [{"type": "function", "function": function} for function in functions]


def _simple(function: JsonObject) -> JsonObject:
    parameters = function["parameters"]
    return function if schemas.is_simple(parameters) else {**function, "parameters": schemas.simple(parameters)}


def refuse_unknown(body: JsonObject) -> None:
    """400 for a parameter that would have to be dropped in silence."""
    for name, value in body.items():
        if value is None or name in _AS_THEY_ARE or name in _HONOURED_HERE or name in _THE_SERVERS:
            continue
        if name == "modalities" and value == ["text"]:
            continue
        raise _unsupported(name, "with this model")
    if body.get("service_tier") not in (None, *_TIERS):
        raise BadRequest(
            f"Invalid value: '{body['service_tier']}'. Supported values are: 'auto' and 'default'.",
            param="service_tier",
            code="invalid_value",
        )


def _unsupported(name: str, where: str) -> BadRequest:
    message = f"Unsupported parameter: '{name}' is not supported {where}."
    return BadRequest(message, param=name, code="unsupported_parameter")


def _sampling(body: JsonObject, sampling: Sampling) -> JsonObject:
    given = {name: value for name, value in body.items() if value is not None}
    asked: JsonObject = {name: given[name] for name in _AS_THEY_ARE if name in given}
    if "stop" in asked:  # an empty sequence stands everywhere: it stops nothing
        asked["stop"] = [text for text in _list(asked["stop"]) if text]
    asked |= sampling.asked(body)
    asked |= {"stream": True, "stream_options": {"include_usage": True}}
    most = given.get("max_completion_tokens", given.get("max_tokens"))
    if most is not None:
        asked["max_tokens"] = most
    if "seed" in given:
        asked["seed"] = given["seed"] % _RANDOM_SEED
    if "frequency_penalty" in asked or "presence_penalty" in asked:
        asked["repeat_last_n"] = _WHOLE_TEXT  # the reference counts the whole text so far, llama.cpp its last 64 tokens
    if given.get("logprobs"):
        asked |= {"logprobs": True, "top_logprobs": max(1, given.get("top_logprobs", 0))}
    return asked


def _list(stop: Any) -> list[str]:
    return [stop] if isinstance(stop, str) else stop


def _schema_of(body: JsonObject) -> JsonObject | None:
    """The schema that the text of the answer must follow."""
    wished = body.get("response_format")
    if not isinstance(wished, dict) or wished.get("type") == "text":
        return None
    if wished["type"] == "json_object":
        return _ANY_OBJECT
    return wished["json_schema"].get("schema") or _ANY_OBJECT


async def _rules(body: JsonObject, wanted: Wanted, talk: TemplateFeatures, compiles: Compiles) -> Grammar | None:
    schema = _schema_of(body)
    text = grammar.free_text()
    if schema is not None:
        level = await _text_level(body, schema, compiles)
        if not wanted.functions:
            return grammar.json_answer(schema, relaxed=level)
        text = grammar.json_text(schema, relaxed=level)
    if not wanted.functions:
        return None
    functions = [_callable(function) for function in wanted.functions]
    free = None if wanted.must else text
    most = grammar.MOST_CALLS if wanted.parallel and not wanted.must else 1
    whole = grammar.calls_answer(functions, free=free, most=most, lines=talk.marks_calls)
    if await compiles(whole):
        return whole
    levels = [await _function_level(wanted, index, function, compiles) for index, function in enumerate(functions)]
    return grammar.calls_answer(functions, free=free, most=most, relaxed=levels, lines=talk.marks_calls)


async def _text_level(body: JsonObject, schema: JsonObject, compiles: Compiles) -> int:
    format = body["response_format"].get("json_schema") or {}
    level = await _level(lambda level: grammar.json_answer(schema, relaxed=level), bool(format.get("strict")), compiles)
    if level is None:
        raise BadRequest(
            f"Invalid schema for response_format '{format.get('name')}': it is no valid JSON schema, or uses keywords "
            "that this model cannot be held to.",
            param="response_format",
        )
    return level


async def _function_level(wanted: Wanted, index: int, function: grammar.Callable, compiles: Compiles) -> int:
    def one(level: int) -> Grammar:
        return grammar.calls_answer([function], free=None, most=1, relaxed=[level])

    level = await _level(one, bool(wanted.functions[index].get("strict")), compiles)
    if level is None:
        fault = "it is no valid JSON schema of an object, or uses keywords that this model cannot be held to"
        raise _bad_parameters(wanted, index, function.name, fault)
    return level


def _bad_parameters(wanted: Wanted, index: int, name: str, fault: str) -> BadRequest:
    return BadRequest(
        f"Invalid schema for function '{name}': {fault}.",
        param=f"{wanted.param}[{index}].{'function.' if wanted.param == 'tools' else ''}parameters",
        code="invalid_function_parameters",
    )


async def _level(build: Callable[[int], Grammar], strict: bool, compiles: Compiles) -> int | None:
    """How far a schema must be relaxed before the engine can decode by it; strict ones are not relaxed at all."""
    for level in range(1 if strict else grammar.MOST_RELAXED + 1):
        if await compiles(build(level)):
            return level
    return None


def _callable(function: JsonObject) -> grammar.Callable:
    return grammar.Callable(name=function["name"], schema={"type": "object", **_complete(function)["parameters"]})


def _complete(function: JsonObject) -> JsonObject:
    """A function with its parameters written out: to leave them away means that there are none."""
    return {**function, "parameters": function.get("parameters") or _NO_PARAMETERS}


def _explained(messages: Sequence[JsonObject], functions: Sequence[JsonObject]) -> list[JsonObject]:
    text = tools_prompt.explain(functions)
    told = with_system(messages, text, alone=f"{tools_prompt.WITHOUT_SYSTEM}\n\n{text}")
    return [told[0], *tools_prompt.examples(functions), *told[1:]]
