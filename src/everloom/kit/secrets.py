"""The secrets of this process, taken out of whatever is passed on, logged or shown.

Other people's servers echo what they were sent: an upstream's refusal may hold the operator's own key, a driver's
exception the database's password. Whoever raises such a text far below knows no settings, so what is secret is known
once a process, as loggers are.
"""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

HIDDEN = "***"

_LEAST = 3
"""A shorter secret is none; hidden, it would take words apart."""

_WORD = 8
"""A secret shorter than this is hidden where it stands as a word."""

_CUT = 6
"""Characters of a secret that are hidden where a text breaks off within it, or begins there."""

_CUT_INSIDE = 12
"""As many of a longer one are hidden anywhere: who cut the text may have put it into a sentence."""

_ESCAPED = re.compile(r"[%\\&+]")
"""What a text has that holds a secret in another form than its own."""

_HTML = {'"': "quot", "&": "amp", "<": "lt", ">": "gt", "'": "apos"}


class Secrets:
    """Texts that nobody is to read, in every form in which they are written within JSON, URLs and HTML."""

    def __init__(self) -> None:
        self._texts: set[str] = set()
        self._forms: tuple[str, ...] = ()
        self._pattern: re.Pattern[str] | None = None

    def add(self, texts: Iterable[str]) -> None:
        """Hide these from now on."""
        found = self._texts | {text for text in texts if len(text) >= _LEAST}
        if found == self._texts:
            return
        self._texts = found
        longest_first = sorted(found, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_pattern, longest_first)))
        forms = ((text, json.dumps(text)[1:-1], quote(text, safe="")) for text in longest_first if len(text) >= _WORD)
        self._forms = tuple(dict.fromkeys(form for written in forms for form in written))

    def hide(self, text: str) -> str:
        """The text without them, whole or cut."""
        if self._pattern is None:
            return text
        if _ESCAPED.search(text) or any(secret in text for secret in self._texts):
            text = self._pattern.sub(HIDDEN, text)
        for form in self._forms:
            text = _hide_cut(text, form)
        return text


SECRETS = Secrets()
"""Those of the settings: ``config.load`` fills it."""


def _pattern(secret: str) -> str:
    written = "".join(map(_any_form, secret))
    return written if len(secret) >= _WORD else rf"(?<!\w){written}(?!\w)"


def _any_form(character: str) -> str:
    """A pattern for a character as it stands, escaped (however often), percent-encoded, or as HTML has it."""
    code = ord(character)
    percent = "".join(f"%(?:25)?(?i:{byte:02x})" for byte in character.encode(errors="surrogatepass"))
    units = character.encode("utf-16-be", "surrogatepass")
    unicode = "".join(rf"\\{{1,8}}u(?i:{units[at : at + 2].hex()})" for at in range(0, len(units), 2))
    forms = [re.escape(character), percent, unicode]
    if not character.isalnum():
        forms += [rf"\\{{1,8}}{re.escape(character)}", f"&#0{{0,4}}{code};", f"&#(?i:x0{{0,4}}{code:x});"]
        if character in _HTML:
            forms.append(f"&{_HTML[character]};")
        if character == " ":
            forms.append(r"\+")
    return f"(?:{'|'.join(reversed(forms))})"  # The plain one last: a percent sign begins its own encoding.


def _hide_cut(text: str, form: str) -> str:
    if len(form) > _CUT_INSIDE and form[:_CUT_INSIDE] in text:
        before, *others = text.split(form[:_CUT_INSIDE])
        rest = form[_CUT_INSIDE:]
        text = HIDDEN.join([before, *(other[_shared(other, rest) :] for other in others)])
    if (start := text.rfind(form[:_CUT])) >= 0 and form.startswith(text[start:]):
        text = text[:start] + HIDDEN
    if (start := text.find(form[-_CUT:])) >= 0 and form.endswith(text[: start + _CUT]):
        text = HIDDEN + text[start + _CUT :]
    return text


def _shared(text: str, form: str) -> int:
    """How many characters the two have in common at their beginning."""
    return next(
        (at for at, pair in enumerate(zip(text, form, strict=False)) if pair[0] != pair[1]), min(len(text), len(form))
    )
