"""Pages of lists: one query for a page and one object more, which says whether there are others.

It walks one index in the order of the list, from the cursor on: that of a column, or the postings of a term. What else
is asked for is asked of what it passes, so the one that fewest have is walked where there are several. Where a column
may have several values their indexes are walked beside each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from everloom.kit.errors import BadRequest
from everloom.objects.base import Object, Page, PageQuery
from everloom.store import sql
from everloom.store.kinds import KINDS, Kind, own_rank
from everloom.store.procedures import decoder, missing
from everloom.store.sql import Dialect, Procedure, Statement
from everloom.store.terms import asked, pairs

T = TypeVar("T", bound=Object)

FEW = 2000
"""How many rows are counted to see which condition the fewest fit: a tenth of a millisecond."""

MERGED = 50
"""Values of a column whose indexes are walked beside each other; more are rare, and sorted."""


class _Named(Struct):
    id: str


_named = msgspec.json.Decoder(_Named)
"""Only the two ends of a page need their ids: read from the bodies, they cost less than a column of all the rows."""


class _List(NamedTuple):
    """What is listed, and in which order from where on."""

    dialect: Dialect
    project: str
    kind: Kind
    where: Mapping[str, Any]
    order: str
    after: str | None
    before: str | None

    @property
    def parent(self) -> str | None:
        """The column that says which list it is (a thread's messages): a cursor of another list is none of this."""
        columns = (column for column, value in self.where.items() if column.endswith("_id") and isinstance(value, str))
        return next(columns, None)


def find(
    dialect: Dialect,
    project: str,
    cls: type[T],
    page: PageQuery,
    metadata: Mapping[str, str] | None,
    where: Mapping[str, Any],
) -> Procedure[Page[T]]:
    """``Store.find``."""
    kind = KINDS[cls]
    backward = page.before is not None and page.after is None
    if page.after is None and page.before is None and metadata is None and _are_texts(where.values()):
        text = _first_page(dialect, kind, tuple(where), page.order)
        rows = yield Statement(text, [project, *where.values(), page.limit + 1])
    else:
        rows = yield from _found(dialect, project, kind, page, metadata, where)
    bodies = [body for (body,) in rows]
    has_more = len(bodies) > page.limit
    if has_more:
        bodies.pop()
    if backward:
        bodies.reverse()
    return Page(
        bodies,
        decoder(cls),
        first_id=_named.decode(bodies[0]).id if bodies else None,
        last_id=_named.decode(bodies[-1]).id if bodies else None,
        has_more=has_more,
    )


_TEXT = {str}


def _are_texts(values: Iterable[Any]) -> bool:
    return set(map(type, values)) <= _TEXT


@lru_cache(maxsize=512)
def _first_page(dialect: Dialect, kind: Kind, columns: tuple[str, ...], order: str) -> str:
    """Of most lists, by far, this is asked for: the text for its columns is put together once."""
    fits, _ = sql.conditions(dialect, kind, dict.fromkeys(columns, ""))
    return sql.page(dialect, kind, "body", fits, order, False, False)


def _found(
    dialect: Dialect,
    project: str,
    kind: Kind,
    page: PageQuery,
    metadata: Mapping[str, str] | None,
    where: Mapping[str, Any],
) -> Procedure[list[Any]]:
    """One-column rows, in the order in which the list is walked: away from the cursor."""
    order, after, before = page.order, page.after, page.before
    if before is not None and after is None:
        order = "asc" if order == "desc" else "desc"
        after, before = before, None
    listed = _List(dialect, project, kind, where, order, after, before)
    rows = yield from _rows(listed, [] if metadata is None else _terms(listed, metadata), page.limit + 1)
    if not rows and (after or before):
        yield from _check_cursors(listed, page)
    return rows


def _terms(listed: _List, metadata: Mapping[str, str]) -> list[bytes]:
    """What an object has that has these pairs, or (where there are none) that has no pair."""
    kind = listed.kind
    if not metadata:
        if "untagged" not in kind.terms:
            raise ValueError(f"{kind.table} are not found by having no metadata")
        return [asked(listed.project, kind, "untagged", True)]
    if "metadata" not in kind.terms:
        raise ValueError(f"{kind.table} are not found by their metadata")
    return sorted(pairs(listed.project, kind, metadata))


def _rows(listed: _List, terms: list[bytes], limit: int) -> Procedure[list[Any]]:
    """One-column rows: the first bodies of a list."""
    several = [column for column, value in listed.where.items() if isinstance(value, list | tuple)]
    if not terms and len(several) == 1 and 1 < len(set(listed.where[several[0]])) <= MERGED:
        text, parameters = _merged(listed, several[0], limit)
    else:
        walked = yield from _rarest(listed, terms)
        rest = [term for term in terms if term is not walked]
        text, parameters = _page(listed, "body", listed.where, walked, rest)
        parameters.append(limit)
    rows: list[Any] = yield Statement(text, parameters)
    return rows


def _rarest(listed: _List, terms: list[bytes]) -> Procedure[bytes | None]:
    """The term whose postings are walked; None: it is the columns' index."""
    if len(terms) + bool(listed.where) <= 1 or not terms:
        return terms[0] if terms else None
    dialect = listed.dialect
    found, least = terms[0], FEW
    for term in terms:
        rows = yield Statement(sql.count(dialect, None, ()), [term, least])
        if rows[0][0] < least:
            found, least = term, rows[0][0]
    if listed.where and least:
        fits, parameters = sql.conditions(dialect, listed.kind, listed.where)
        rows = yield Statement(sql.count(dialect, listed.kind, fits), [listed.project, *parameters, least])
        if rows[0][0] < least:
            return None
    return found


def _page(
    listed: _List, columns: str, where: Mapping[str, Any], walked: bytes | None, terms: Sequence[bytes]
) -> tuple[str, list[Any]]:
    """The page's text and all its parameters but the limit."""
    dialect, project, kind, _, order, after, before = listed
    fits, parameters = sql.conditions(dialect, kind, where)
    parameters = [*([] if walked is None else [walked]), project, *parameters, *terms]
    parent = listed.parent
    of = () if parent is None else (where[parent],)
    for id in (after, before):
        if id is not None:
            parameters += (*of, project, id, own_rank(kind, id), id)
    places = (after is not None, before is not None, parent)
    return sql.page(dialect, kind, columns, fits, order, *places, walked is not None, len(terms)), parameters


def _merged(listed: _List, column: str, limit: int) -> tuple[str, list[Any]]:
    """The text and parameters of a list in which a column may have several values."""
    texts: list[str] = []
    parameters: list[Any] = []
    for value in dict.fromkeys(listed.where[column]):
        one = {**listed.where, column: value}
        text, own = _page(listed._replace(dialect="sqlite"), "rank, id, body", one, None, ())
        texts.append(text)
        parameters += (*own, limit)
    return sql.merged(listed.dialect, tuple(texts), listed.order), [*parameters, limit]


def _check_cursors(listed: _List, page: PageQuery) -> Procedure[None]:
    """An empty page may come of a cursor that means nothing: a row of another list, or no row and no id of our make."""
    dialect, project, kind, where, *_ = listed
    parent = listed.parent
    fits, parameters = sql.conditions(dialect, kind, {parent: where[parent]} if parent else {})
    for name in ("after", "before"):
        if (id := getattr(page, name)) is not None:
            rows = yield Statement(sql.get(dialect, kind, ()), [project, id])
            if rows and fits:
                rows = yield Statement(sql.get(dialect, kind, fits), [project, id, *parameters])
            elif not rows and own_rank(kind, id) is not None:
                continue  # It has been deleted, and its id still says where it stood.
            if not rows:
                raise BadRequest(f"Invalid '{name}': {missing(kind, id).message}", param=name)
