"""What holds where nobody says: how a model samples (its operator's word, its file's, its family's, and then the
reference's), and the system text of a conversation.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from everloom.objects.base import JsonObject


class Sampling(Struct, frozen=True, kw_only=True):
    """Numbers as llama.cpp takes them; None where nothing is said. ``top_k`` 0: as many as there are."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None

    def over(self, other: "Sampling") -> "Sampling":
        """These, and the other's where these say nothing."""
        own = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        theirs = {name: getattr(other, name) for name in other.__struct_fields__}
        return Sampling(**{**theirs, **own})

    def asked(self, body: JsonObject) -> JsonObject:
        """The engine's parameters for a request: what it names counts, null is not named, and the rest is the model's.
        The reference's own where that says nothing, too.
        """
        named = {name: body[name] for name in ("temperature", "top_p") if body.get(name) is not None}
        own = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        return {"temperature": 1, "top_p": 1, **own, **named}


_FAMILIES: tuple[tuple[str, Sampling], ...] = (
    (r"smollm3", Sampling(temperature=0.6, top_p=0.95)),
    (r"smollm", Sampling(temperature=0.2, top_p=0.9)),
    (r"qwen3.*(instruct|coder)", Sampling(temperature=0.7, top_p=0.8, top_k=20, min_p=0.0)),
    (r"qwen3", Sampling(temperature=0.6, top_p=0.95, top_k=20, min_p=0.0)),
    (r"qwq", Sampling(temperature=0.6, top_p=0.95, top_k=40, min_p=0.0)),
    (r"(r1|deepseek).*distill", Sampling(temperature=0.6, top_p=0.95)),
    (r"qwen2|qwen1\.5", Sampling(temperature=0.7, top_p=0.8, top_k=20, repeat_penalty=1.05)),
    (r"llama.?3|llama.*3\.\d", Sampling(temperature=0.6, top_p=0.9)),
    (r"gemma", Sampling(temperature=1.0, top_p=0.95, top_k=64, min_p=0.0)),
    (r"phi.?4.*reasoning", Sampling(temperature=0.8, top_p=0.95, top_k=50)),
    (r"phi.?3.?(mini|small|medium|vision)|phi.?3\.5|phi.?4.?mini", Sampling(temperature=0.0)),
    (r"mistral.?nemo", Sampling(temperature=0.3)),
    (r"mistral.?small|devstral", Sampling(temperature=0.15)),
    (r"mistral|mixtral|ministral", Sampling(temperature=0.7)),
)
"""What model cards and their ``generation_config.json`` recommend; the first that fits a model's name."""

_SYSTEM: tuple[tuple[str, str], ...] = ((r"smollm2", "You are a helpful AI assistant."),)
"""What stands in the system's place where a conversation has none, by model. SmolLM2's template has a sentence of its
own there, without a full stop, behind which the model in the box goes on in French: asked for the capital of France at
temperature 0 it does not say Paris, and it does behind this one.
"""

_NAMES = ("basename", "name", "architecture", "finetune")

_KEYS: Mapping[str, tuple[str, Callable[[float], bool]]] = {
    "sampling.temp": ("temperature", lambda value: 0 <= value <= 2),
    "sampling.top_p": ("top_p", lambda value: 0 < value <= 1),
    "sampling.top_k": ("top_k", lambda value: 0 <= value < 1 << 20),
    "sampling.min_p": ("min_p", lambda value: 0 <= value <= 1),
    "sampling.penalty_repeat": ("repeat_penalty", lambda value: 0 < value <= 2),
}
"""Keys of a GGUF head under ``general.``, and what they may say."""


def recommended(general: Mapping[str, str | int | float]) -> Sampling:
    """What a model's file says, or else what is known of its family. ``general``: of its GGUF head."""
    return _told(general).over(_of_family(general))


def default_system(general: Mapping[str, str | int | float]) -> str:
    """The system text of a conversation that has none; empty: as the model's template has it."""
    names = _called(general)
    return next((text for pattern, text in _SYSTEM if re.search(pattern, names)), "")


def _told(general: Mapping[str, str | int | float]) -> Sampling:
    said: dict[str, Any] = {}
    for key, (name, sane) in _KEYS.items():
        value = general.get(key)
        if isinstance(value, int | float) and sane(value):
            said[name] = int(value) if name == "top_k" else round(float(value), 4)  # they are kept in 32 bits
    return Sampling(**said)


def _of_family(general: Mapping[str, str | int | float]) -> Sampling:
    names = _called(general)
    return next((sampling for pattern, sampling in _FAMILIES if re.search(pattern, names)), Sampling())


def _called(general: Mapping[str, str | int | float]) -> str:
    return " ".join(str(general[key]) for key in _NAMES if key in general).lower()
