"""Reading one text out of a call's arguments while they are still being written."""

import json
import re

_HALF_ESCAPE = re.compile(r"(?:\\u[0-9a-fA-F]{0,3}|\\)\Z")
_HALF_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")


class TextField:
    """The string under ``name`` in a JSON object that arrives in pieces.

    A model that writes no JSON at all means the text itself: then all of it is the field.
    """

    def __init__(self, name: str) -> None:
        self._open = re.compile(rf'\{{\s*"{re.escape(name)}"\s*:\s*"')
        self._name = name
        self._written = ""
        self._begin: int | None = None
        self._shown = 0

    def feed(self, piece: str) -> str:
        """What the piece adds to the field."""
        self._written += piece
        if self._begin is None:
            opened = self._open.match(self._written.lstrip())
            if opened is None:
                return ""
            self._begin = len(self._written) - len(self._written.lstrip()) + opened.end()
        text = self._so_far(self._begin)
        added, self._shown = text[self._shown :], max(self._shown, len(text))
        return added

    def _so_far(self, begin: int) -> str:
        raw = self._written[begin:]
        end = re.match(r'(?:[^"\\]|\\.)*', raw, re.DOTALL)
        raw = raw[: end.end()] if end else ""
        raw = _HALF_PAIR.sub("", _HALF_ESCAPE.sub("", raw))
        try:
            return str(json.loads(f'"{raw}"', strict=False))
        except ValueError:
            return self._written[begin : begin + self._shown]

    @property
    def written(self) -> str:
        """The arguments as they came."""
        return self._written

    def value(self) -> str:
        """The field once all has arrived."""
        try:
            found = json.loads(self._written, strict=False)
        except ValueError:
            return self._written if self._begin is None else self._so_far(self._begin)
        if isinstance(found, dict):
            value = found.get(self._name)
            return value if isinstance(value, str) else "" if value is None else json.dumps(value)
        return found if isinstance(found, str) else self._written
