"""Mail: what the organization tells people, kept until a mail server has taken it. Never shown."""

import re

from everloom.objects.base import Object

_ATOM = r"[A-Za-z0-9_!#$%&'*+/=?^`{|}~-]+"
_LABEL = r"[^\W_](?:[\w-]*[^\W_])?"
_ADDRESS = re.compile(rf"(?P<local>{_ATOM}(?:\.{_ATOM})*)@(?P<domain>{_LABEL}(?:\.{_LABEL})*)")

_LONGEST_LOCAL, _LONGEST_ADDRESS = 64, 254
"""Octets (RFC 5321)."""

LONGEST_SUBJECT = 200
LONGEST_TEXT = 100_000


class Mail(Object, kw_only=True):
    """A mail to one address, and how often it was tried to send it.

    ``due_at``: the second before which it is not tried again.
    """

    to: str
    subject: str
    text: str
    tries: int = 0
    due_at: int = 0


def is_address(text: str) -> bool:
    """Whether mail can be sent to it: ``name@domain`` and nothing else, without quotes, comments or an IP address.

    The domain may have letters of any kind, the name those of ASCII.
    """
    found = _ADDRESS.fullmatch(text)
    return found is not None and len(found["local"]) <= _LONGEST_LOCAL and len(text.encode()) <= _LONGEST_ADDRESS


def one_line(text: str) -> str:
    """The text as a line of its own, as a header wants it: what would end or hide a line is a space."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
