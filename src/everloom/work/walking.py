"""Lists read page by page, whose objects may go while they are read."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from msgspec.structs import replace

from everloom.kit.errors import BadRequest
from everloom.objects.base import Object, Page, PageQuery
from everloom.store.base import Store
from everloom.store.kinds import KINDS

T = TypeVar("T", bound=Object)


async def pages(store: Store, cls: type[T], query: PageQuery, **where: Any) -> AsyncIterator[Page[T]]:
    """The pages of a list from ``query`` on, an empty one if there is nothing.

    A page goes on behind the last object of the one before. Where that has been deleted since, and its id, which came
    from elsewhere, does not say where it stood, it goes on behind the last one of its page that still stands, and ends
    where none does.
    """
    before: Page[T] | None = None
    while True:
        try:
            page = await store.find(cls, query, **where)
        except BadRequest:
            if before is None:
                raise
            after = await _last_standing(store, cls, before, query.after)
            if after is None:
                return
            query = replace(query, after=after)
            continue
        yield page
        if not page.has_more:
            return
        before = page
        query = replace(query, after=page.last_id if KINDS[cls].key == "id" else _keys(cls, page)[-1])


async def _last_standing(store: Store, cls: type[T], page: Page[T], but: str | None) -> str | None:
    """The key of the last object of a page that still stands, ``but`` one that is known not to. None: all have gone."""
    keys = [key for key in _keys(cls, page) if key != but]
    standing = {getattr(thing, KINDS[cls].key) for thing in await store.all(cls, id=keys)} if keys else set()
    return next((key for key in reversed(keys) if key in standing), None)


def _keys(cls: type[T], page: Page[T]) -> list[str]:
    return [getattr(thing, KINDS[cls].key) for thing in page.decode()]
