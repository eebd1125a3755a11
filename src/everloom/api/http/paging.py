"""Pages of short lists that are there whole."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from everloom.objects.base import Object, Page, PageQuery, encode

T = TypeVar("T", bound=Object)


def paginate(things: Sequence[T], cls: type[T], page: PageQuery) -> Page[T]:
    """A page of ``things``, which are all there are, oldest first.

    A cursor whose thing has gone since (by a client that deletes as it lists) counts as none.
    """
    if page.order == "desc":
        things = things[::-1]
    ids = [thing.id for thing in things]
    start = ids.index(page.after) + 1 if page.after in ids else 0
    end = ids.index(page.before) if page.before in ids else len(ids)
    inside = things[start:end]
    backward = page.before in ids and page.after is None
    cut = inside[-page.limit :] if backward else inside[: page.limit]
    return Page(
        [encode(thing) for thing in cut],
        msgspec.json.Decoder(cls),
        first_id=cut[0].id if cut else None,
        last_id=cut[-1].id if cut else None,
        has_more=len(inside) > len(cut),
    )
