"""Reading one text out of a call's arguments while they are still being written."""

import json
import re
from typing import Any

_WHOLE = re.compile(
    r"""(?:[^"\\]                                                     # a letter
        |\\[^u]                                                       # an escape of one
        |\\u(?![dD][89abAB])[0-9a-fA-F]{4}                            # one of four digits
        |\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}   # a pair of these for one letter
    )*""",
    re.VERBOSE,
)
"""As much of a JSON string as consists of whole letters: the last one may still be on its way."""


_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
"""What is escaped that JSON does not know (``\\d`` of a regular expression) stands for itself."""


def _only_text(members: dict[str, Any]) -> str | None:
    """What a model means that calls the argument by another name: the one text that there is, or one list of them."""
    texts = [each for each in members.values() if isinstance(each, str)]
    for each in members.values():
        if isinstance(each, list) and each and all(isinstance(item, str) for item in each):
            texts.append(" ".join(each))
    return texts[0] if len(texts) == 1 else None


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
        """Where what has not been shown yet begins: letters that were read once are not read again."""

    def feed(self, piece: str) -> str:
        """What the piece adds to the field."""
        self._written += piece
        if self._begin is None:
            opened = self._open.match(self._written.lstrip())
            if opened is None:
                return ""
            self._begin = self._shown = len(self._written) - len(self._written.lstrip()) + opened.end()
        added, self._shown = self._so_far(self._shown)
        return added

    def _so_far(self, begin: int) -> tuple[str, int]:
        """The whole letters from a place on, and where they end."""
        whole = _WHOLE.match(self._written, begin)
        assert whole is not None
        known = _ESCAPE.sub(lambda escape: escape[0] if escape[1] in '"\\/bfnrtu' else "\\" + escape[0], whole[0])
        return str(json.loads(f'"{known}"', strict=False)), whole.end()

    @property
    def written(self) -> str:
        """The arguments as they came."""
        return self._written

    def value(self) -> str:
        """The field once all has arrived; half letters that a model made up are replaced."""
        return self._value().encode("utf-8", "replace").decode()

    def _value(self) -> str:
        try:
            found = json.loads(self._written, strict=False)
        except ValueError:
            return self._written if self._begin is None else self._so_far(self._begin)[0]
        if isinstance(found, dict):
            value = found.get(self._name, _only_text(found))
            return value if isinstance(value, str) else "" if value is None else json.dumps(value)
        return found if isinstance(found, str) else self._written
