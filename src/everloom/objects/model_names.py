"""Spellings of model names: which of them servers take for one model, and which patterns a name fits."""

import re
from fnmatch import fnmatchcase

WILDCARDS = re.compile(r"[*?\[]")
"""What makes a pattern of a name, as in ``fnmatch``."""

_NEWEST = ":latest"
"""The tag that some servers add to a name without one."""


def plain_name(name: str) -> str:
    """What all spellings of a name have in common that servers take for the same model: case, tag and spaces apart."""
    return name.strip().casefold().removesuffix(_NEWEST)


def fits(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern (``fnmatch``), as it is spelled or as another spelling of the same model."""
    if fnmatchcase(name, pattern):
        return True
    plain, pattern = plain_name(name), pattern.casefold()
    if fnmatchcase(plain, pattern):
        return True
    return ":" not in plain.rpartition("/")[2] and fnmatchcase(plain + _NEWEST, pattern)
