"""Time in buckets, a page of them at a time: their edges as the platform was recorded to draw them, and its cursors."""

import base64
import binascii
import hashlib
from collections.abc import Iterator

from msgspec import Struct, structs

from everloom.kit.clock import now
from everloom.kit.errors import BadRequest
from everloom.objects.base import encode
from everloom.objects.ledger import DAY, HOUR, MINUTE
from everloom.objects.usage import BucketQuery

_WIDTHS: dict[str, int] = {"1m": MINUTE, "1h": HOUR, "1d": DAY}
_LIMITS: dict[int, tuple[int, int]] = {MINUTE: (60, 1440), HOUR: (24, 168), DAY: (7, 31)}
"""Buckets of a page, by default and at most."""

COSTS_LIMITS = (7, 180)

_PREFIX = "page_"
_DIGEST_DIGITS = 16


class Stretch(Struct, frozen=True, kw_only=True):
    """The buckets of one page: ``width`` seconds each, but for the first and the last, from ``start`` to ``end``."""

    start: int
    end: int
    until: int
    """What is summed is from before this: the last bucket holds what is left of the second in which it ends."""
    width: int
    next_page: str | None

    def buckets(self) -> Iterator[tuple[int, int]]:
        """The beginning and the end of each."""
        start = self.start
        while start < self.end:
            edge = min(start - start % self.width + self.width, self.end)
            yield start, edge
            start = edge


def stretch(
    name: str, query: BucketQuery, width: str, limits: tuple[int, int] | None = None, *, whole: bool = False
) -> Stretch:
    """The page of buckets that ``query`` of the operation ``name`` asks for.

    The first begins when the caller says and ends at the next edge of UTC's; the last ends now, if not when the caller
    says. ``whole``: both are whole ones. Errors: 400 for an end that is not behind the start, a limit that is too high
    for the width, or a cursor of another list.
    """
    seconds = _WIDTHS[width]
    usual, most = limits or _LIMITS[seconds]
    start, end = query.start_time, query.end_time
    if end is not None and end <= start:
        text = f"integer below minimum value. Expected a value > {start}, but got {end} instead."
        raise BadRequest(f"Invalid 'end_time': {text}", param="end_time", code="integer_below_min_value")
    if query.limit is not None and query.limit > most:
        text = f"integer above maximum value. Expected a value <= {most}, but got {query.limit} instead."
        raise BadRequest(f"Invalid 'limit': {text}", param="limit", code="integer_above_max_value")
    end = now() if end is None else min(end, now())
    if whole:
        start, end = start // seconds * seconds, -(-end // seconds) * seconds
    digest = _digest(name, query)
    if query.page is not None:
        start, end = _read(query.page, digest)
    last = start // seconds * seconds + (query.limit or usual) * seconds
    running = not whole and last >= end and (query.end_time is None or query.end_time > end)
    more = _PREFIX + _written(f"{last}.{end}.{digest}") if last < end else None
    end = min(last, end)
    return Stretch(start=start, end=end, until=end + running, width=seconds, next_page=more)


def _digest(name: str, query: BucketQuery) -> str:
    """Says of which list a cursor is: that of the same query, but for its length."""
    asked = {key: value for key, value in structs.asdict(query).items() if key not in ("page", "limit")}
    asked = {key: sorted(value) if isinstance(value, list) else value for key, value in asked.items()}
    return hashlib.sha256(encode([name, asked])).hexdigest()[:_DIGEST_DIGITS]


def _written(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(page: str, digest: str) -> tuple[int, int]:
    """Where a page begins, and where its list ends: now, when the first page was asked for. Errors: 400."""
    text = page.removeprefix(_PREFIX)
    try:
        start, end, of = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii").split(".")
        if of == digest and _PREFIX + _written(f"{int(start)}.{int(end)}.{of}") == page:
            return int(start), int(end)
    except (ValueError, binascii.Error):
        pass
    raise BadRequest(
        "Invalid 'page': not a cursor of this list. Expected the 'next_page' of an answer to the same query.",
        param="page",
        code="invalid_value",
    )
