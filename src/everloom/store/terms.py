"""Terms: what an object is found by where a column will not do, since it has several values or few lists ask for it.

A term is a digest of a project, a kind, an attribute and a value, so that entries of ``postings`` are short and all of
one length, however long a value is and whatever characters are in it, and each project's are its own.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from everloom.objects.base import Object
from everloom.store.kinds import Kind

_BYTES = 16


def term(project: str, kind: Kind, attribute: str, value: str = "", key: str = "") -> bytes:
    """16 bytes. ``key`` is that of a pair; a true attribute has an empty value."""
    parts = [part.encode("utf-8", "surrogatepass") for part in (project, kind.table, attribute, key, value)]
    lengths = ".".join(str(len(part)) for part in parts)
    return blake2b(b":".join([lengths.encode(), *parts]), digest_size=_BYTES).digest()


def terms(project: str, kind: Kind, thing: Object) -> set[bytes]:
    """All that an object is found by."""
    found: set[bytes] = set()
    for attribute in kind.terms:
        value = getattr(thing, attribute)
        if isinstance(value, dict):
            found |= pairs(project, kind, value, attribute)
        elif isinstance(value, list):
            found.update(term(project, kind, attribute, one) for one in value)
        elif isinstance(value, str):
            found.add(term(project, kind, attribute, value))
        elif value is True:
            found.add(term(project, kind, attribute))
    return found


def pairs(project: str, kind: Kind, given: Mapping[str, str], attribute: str = "metadata") -> set[bytes]:
    """The terms of pairs: an object that has all of the pairs has all of them."""
    return {term(project, kind, attribute, value, key) for key, value in given.items()}


def asked(project: str, kind: Kind, attribute: str, value: Any) -> bytes:
    """The term of a condition: a text that an attribute has (among others), or ``True``."""
    return term(project, kind, attribute) if value is True else term(project, kind, attribute, value)
