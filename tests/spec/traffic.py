"""The exchanges that others recorded with the real platform between November 2023 and March 2025."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.spec.spec import SPEC


@dataclass(frozen=True)
class Exchange:
    """One recorded request to the real platform, and what it answered."""

    name: str
    """``<recorder's version>/<cassette>``, with a number where a cassette has several."""
    recorded_at: str
    beta: str | None
    method: str
    path: str
    query: str
    request: str
    status: int
    headers: dict[str, str]
    body: str

    @property
    def template(self) -> str:
        """The operation: the method and the path with its ids left out."""
        return f"{self.method} {re.sub(_ID, '{}', self.path)}"

    def json(self) -> Any:
        """The answer as JSON. Long lists were cut when recorded: they end behind their last whole object."""
        try:
            return json.loads(self.body)
        except ValueError:
            whole = self.body[: self.body.rindex("},\n    {") + 1]
            return json.loads(whole + "]}")


_ID = r"(?<=/)(?:(?:asst|thread|msg|run|step|vs|vsfb|batch)_\w+|file-\w+|(?<=models/)[\w.-]+|(?<=fine_tuning/jobs/)\w+)"


def recorded() -> list[Exchange]:
    """Every recorded exchange, in the order of the file; none where the file is absent."""
    if not SPEC.is_dir():
        return []
    lines = [json.loads(line) for line in (SPEC / "recorded-traffic.jsonl").read_text(encoding="utf-8").splitlines()]
    names = Counter(f"{line['tag']}/{line['cassette']}" for line in lines)
    seen: Counter[str] = Counter()
    return [_exchange(line, names, seen) for line in lines]


def _exchange(line: dict[str, Any], names: Counter[str], seen: Counter[str]) -> Exchange:
    name = f"{line['tag']}/{line['cassette']}"
    seen[name] += 1
    url = urlsplit(line["uri"])
    return Exchange(
        name=name if names[name] == 1 else f"{name}/{seen[name]}",
        recorded_at=line["recorded_at"],
        beta=line["beta"],
        method=line["method"],
        path=url.path.removeprefix("/v1"),
        query=url.query,
        request=line["request_body"] or "",
        status=line["status"],
        headers={header.lower(): value for header, value in line["response_headers"].items()},
        body=line["response_body"] or "",
    )
