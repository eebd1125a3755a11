"""What a recorded answer and ours have to agree in: everything but ids, times, words of models, and what is counted."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

HEADERS = (
    "access-control-allow-origin",
    "cache-control",
    "content-disposition",
    "content-type",
    "openai-model",
    "openai-organization",
    "openai-processing-ms",
    "openai-version",
    "x-content-type-options",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-request-id",
)
"""The headers a client may read; the others belong to whatever stood before the platform."""

_MASKED_HEADERS = re.compile(r"openai-(model|organization|processing-ms)|x-(ratelimit|request-id).*")

_MASKED = re.compile(
    r"id|.*_id|created|.*_at|owned_by|system_fingerprint|model|url|revised_prompt|value|content|arguments|.*_tokens",
    re.ASCII,
)
"""Members whose values differ from call to call. ``max_…_tokens`` are among them: their nulls still count."""


@dataclass(frozen=True)
class Difference:
    """Where the two part: ``path`` as in ``data[0].status``, headers as ``header.…``, events as ``event.…``."""

    path: str
    recorded: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.path}: recorded {self.recorded!r}, ours {self.ours!r}"


ABSENT = "(absent)"


def of_headers(recorded: dict[str, str], ours: Any) -> Iterator[Difference]:
    """Headers a client may read and that one of ours lacks, or has with another value."""
    for name in HEADERS:
        if name not in recorded:
            continue
        mine = ours.get(name, ABSENT)
        same = mine != ABSENT if _MASKED_HEADERS.fullmatch(name) else _bare(name, mine) == _bare(name, recorded[name])
        if not same:
            yield Difference(f"header.{name}", recorded[name], mine)


def _bare(name: str, value: str) -> str:
    """A media type without its charset: JSON and event streams are UTF-8, said or not."""
    return value.partition(";")[0] if name == "content-type" else value


def of_values(recorded: Any, ours: Any, path: str = "") -> Iterator[Difference]:
    """Members that ours lacks, nulls that are none or none where there is one, other types, other values."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        for name, value in recorded.items():
            yield from of_values(value, ours.get(name, ABSENT), f"{path}.{name}".lstrip("."))
    elif isinstance(recorded, list) and isinstance(ours, list):
        yield from _of_lists(recorded, ours, path)
    elif _kind(recorded) != _kind(ours) or (recorded != ours and not _MASKED.fullmatch(path.rpartition(".")[2])):
        yield Difference(path, recorded, ours)


def _of_lists(recorded: list[Any], ours: list[Any], path: str) -> Iterator[Difference]:
    """Item by item; a list of files or models has other ones here than there, so only its first is compared."""
    if path == "data" and recorded and ours:
        recorded, ours = recorded[:1], ours[:1]
    if len(recorded) != len(ours):
        yield Difference(path, recorded, ours)
        return
    for place, (theirs, mine) in enumerate(zip(recorded, ours, strict=True)):
        yield from of_values(theirs, mine, f"{path}[{place}]")


def _kind(value: Any) -> str:
    if value == ABSENT:
        return ABSENT
    if value is None or isinstance(value, bool):
        return type(value).__name__
    return "number" if isinstance(value, int | float) else type(value).__name__


def events(text: str) -> list[tuple[str, Any]]:
    """The (name, data) pairs of a stream; chat's have no name. A run of deltas is a single pair, with a list."""
    pairs: list[tuple[str, Any]] = []
    for block in re.split(r"\n\n+", text.strip()):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if not fields:
            continue
        name = fields.get("event", "")
        data = fields["data"] if fields["data"] == "[DONE]" else json.loads(fields["data"])
        if not name.endswith(".delta"):
            pairs.append((name, data))
        elif pairs and pairs[-1][0] == name:
            pairs[-1][1].append(data)
        else:
            pairs.append((name, [data]))
    return pairs


def of_streams(recorded: str, ours: str) -> Iterator[Difference]:
    """The names in their order, and the data of every event; of many deltas or chunks the first two and the last."""
    theirs, mine = events(recorded), events(ours)
    if not theirs[0][0]:
        theirs, mine = _chunks(theirs), _chunks(mine)
    names, my_names = [name for name, _ in theirs], [name for name, _ in mine]
    for place in range(max(len(names), len(my_names))):
        name = names[place] if place < len(names) else ABSENT
        my_name = my_names[place] if place < len(my_names) else ABSENT
        if name != my_name:
            yield Difference(f"event.{place}", name, my_name)
    for (name, data), (my_name, my_data) in zip(theirs, mine, strict=False):
        if name == my_name and name.endswith(".delta"):
            data, my_data = [*data[:2], data[-1]], [*my_data[:2], my_data[-1]]
        yield from of_values(data, my_data, f"event.{name}")


def _chunks(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """A chat's chunks as events that have names."""
    places = (0, 1, -2, -1)
    return [(f"chunk({place})", pairs[place][1]) for place in places]
