"""Texts as the serving engine reads them: the tokenizer and the chat template of a GGUF file.

Runs in the child. That the tokens are those of llama.cpp is held by ``tests/training/test_lora_tokens.py``.
"""

import json
import re
from datetime import datetime
from functools import cached_property
from typing import Any

from everloom.training.lora.gguf_model import GgufModel

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = {
    "qwen2": _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST,
    "llama-bpe": _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST,
}
"""How kinds of tokenizers cut a text before they look for tokens (``tokenizer.ggml.pre``), as llama.cpp has them."""
_DIGIT_BY_DIGIT = ("smollm",)
_PLAIN = ("gpt-2", "default")
KNOWN = (*_WORDS, *_DIGIT_BY_DIGIT, *_PLAIN)

_CONTROL, _USER_DEFINED = 3, 4
_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "</s>")
_MARKED_CALL = re.compile(r'<tool_call>(?:\\n|\s)*\{\\?"name\\?"')
"""As in ``models/llama/engine.py``: what decides in which form calls stand in a prompt."""

_NEEDLE = "find_the_needle"


class UnknownTokenizer(ValueError):
    """A tokenizer of a kind that is not known here."""


def check_tokenizer(model: GgufModel) -> None:
    """Errors: ``UnknownTokenizer``."""
    kind, words = model.keys.get("tokenizer.ggml.model"), model.keys.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2" or words not in KNOWN:
        raise UnknownTokenizer(f"its tokenizer ({kind}, {words}) is not known to the trainer")


class Texts:
    """Tokenizer and chat template of a model file."""

    def __init__(self, model: GgufModel) -> None:
        check_tokenizer(model)
        self._keys = model.keys
        self._tokens: list[str] = model.keys["tokenizer.ggml.tokens"]
        self._tokenizer = _tokenizer(model)
        words = model.keys.get("tokenizer.ggml.pre")
        self._bos = model.keys.get("tokenizer.ggml.bos_token_id")
        adds = bool(model.keys.get("tokenizer.ggml.add_bos_token", words == "llama-bpe"))
        self._before = [self._bos] if adds and self._bos is not None else []
        self.end: int = model.keys.get("tokenizer.ggml.eos_token_id", 0)
        named = {model.keys.get("tokenizer.ggml.eot_token_id"), self.end}
        self.ends = named | {index for index, text in enumerate(self._tokens) if text in _ENDS}

    @property
    def template(self) -> str:
        """The chat template; llama.cpp takes ChatML where a file has none."""
        return str(self._keys.get("tokenizer.chat_template") or _CHATML)

    @cached_property
    def knows_tools(self) -> bool:
        """Whether the template has a place for tools."""
        tool = {"type": "function", "function": {"name": _NEEDLE, "description": "x", "parameters": {"type": "object"}}}
        return _NEEDLE in self._tried([{"role": "user", "content": "x"}], [tool])

    @property
    def marks_calls(self) -> bool:
        """Whether the template writes calls as JSON between the marks that ``tools_prompt.py`` writes, too."""
        return _MARKED_CALL.search(self.template) is not None

    @cached_property
    def _takes_objects(self) -> bool:
        """Whether the template wants a call's arguments as an object, not as the text that the reference has."""

        def shows(arguments: Any) -> bool:
            call = {"id": "call_1", "type": "function", "function": {"name": _NEEDLE, "arguments": arguments}}
            turn = {"role": "assistant", "content": "", "tool_calls": [call]}
            said = self._tried([{"role": "user", "content": "x"}, turn], None)
            return '"needle":' in said or "'needle':" in said

        return not shows('{"needle": 1}') and shows({"needle": 1})

    def render(self, turns: list[dict[str, Any]], tools: list[Any] | None, *, answer: bool) -> str:
        """The text of a conversation; ``answer``: up to where the model's next word would stand.

        Errors: ``ValueError`` where the template refuses it.
        """
        import jinja2

        if self._takes_objects:
            turns = [_with_objects(turn) for turn in turns]
        try:
            text = self._render(turns, tools, answer)
        except jinja2.TemplateError as error:
            raise ValueError(f"the model's chat template does not take it: {error}") from error
        bos = self._name(self._bos)
        return text[len(bos) :] if self._before and bos and text.startswith(bos) else text

    def encode(self, text: str, *, begins: bool) -> list[int]:
        """Tokens; ``begins``: of a text's beginning, before which some models have a token of its own."""
        found: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [*self._before, *found] if begins else found

    def _name(self, token: int | None) -> str:
        return self._tokens[token] if token is not None and token < len(self._tokens) else ""

    def _tried(self, turns: list[dict[str, Any]], tools: list[Any] | None) -> str:
        try:
            return self._render(turns, tools, True)
        except Exception:  # templates of strangers fail as they like
            return ""

    def _render(self, turns: list[dict[str, Any]], tools: list[Any] | None, answer: bool) -> str:
        return str(
            self._compiled.render(
                messages=turns,
                tools=tools,
                add_generation_prompt=answer,
                bos_token=self._name(self._bos),
                eos_token=self._name(self.end),
                enable_thinking=True,
            )
        )

    @cached_property
    def _compiled(self) -> Any:
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(message: str) -> None:
            raise ValueError(message)

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _as_json
        environment.globals["raise_exception"] = refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        return environment.from_string(self.template)


_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def _as_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _with_objects(turn: dict[str, Any]) -> dict[str, Any]:
    if not turn.get("tool_calls"):
        return turn
    return {**turn, "tool_calls": [_with_object(call) for call in turn["tool_calls"]]}


def _with_object(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        return call
    return {**call, "function": {**function, "arguments": arguments}}


def _tokenizer(model: GgufModel) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    names, words = model.keys["tokenizer.ggml.tokens"], model.keys.get("tokenizer.ggml.pre", "default")
    merges = [tuple(line.split(" ", 1)) for line in model.keys["tokenizer.ggml.merges"]]
    vocabulary = {name: index for index, name in enumerate(names)}
    merges = [pair for pair in merges if len(pair) == 2 and {*pair, "".join(pair)} <= vocabulary.keys()]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, fuse_unk=False, ignore_merges=words == "llama-bpe"))
    by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words not in _WORDS)
    if words in _WORDS:
        cut = pre_tokenizers.Split(Regex(_WORDS[words]), behavior="isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, by_bytes])
    elif words in _DIGIT_BY_DIGIT:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), by_bytes])
    else:
        tokenizer.pre_tokenizer = by_bytes
    tokenizer.decoder = decoders.ByteLevel()
    kinds = model.keys.get("tokenizer.ggml.token_type") or []
    special = [name for name, kind in zip(names, kinds, strict=False) if kind in (_CONTROL, _USER_DEFINED)]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in special])
    return tokenizer
