"""Pages of short lists that are there whole, and the queries of lists that know one direction."""

from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from everloom.objects.base import Object, Page, PageQuery, encode

T = TypeVar("T", bound=Object)


class AfterQuery(Struct, frozen=True, kw_only=True):
    """The list parameters of the organization's half: ``limit`` objects after an id, the oldest first, so that what is
    made while somebody pages comes at the end.
    """

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    after: str | None = None

    @property
    def page(self) -> PageQuery:
        """As the store wants it."""
        return PageQuery(limit=self.limit, order="asc", after=self.after)


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
