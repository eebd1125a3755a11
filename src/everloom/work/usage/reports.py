"""Sums of the ledger as the organization's usage and costs."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, get_args

from msgspec import UNSET, convert

from everloom.context import Context
from everloom.objects.ledger import HOUR, MEASURES, LedgerQuery, LedgerSum, UsageKind
from everloom.objects.organization import ORGANIZATION
from everloom.objects.prices import LineItem
from everloom.objects.usage import (
    AnyUsageQuery,
    BucketQuery,
    CostAmount,
    CostsQuery,
    CostsResult,
    UsageBucket,
    UsagePage,
    UsageResult,
    VectorStoresUsage,
)
from everloom.work.usage.buckets import COSTS_LIMITS, Stretch, stretch

_COLUMNS = {
    "project_id": "project",
    "user_id": "user_id",
    "api_key_id": "key_id",
    "model": "model",
    "batch": "batch",
    "size": "size",
    "source": "source",
    "vector_store_id": "source",
}
"""What is grouped by on the wire, and in the ledger."""

_CONSTANTS: dict[str, Any] = {"service_tier": None, "api_source": "unlabeled"}
"""What can be grouped by and is everywhere the same."""

_FILTERS = {
    "project_ids": "project",
    "user_ids": "user_id",
    "api_key_ids": "key_id",
    "models": "model",
    "sizes": "size",
    "sources": "source",
    "vector_store_ids": "source",
}
"""Parameters that are lists of what may stand in a column."""

_EVERYTHING: tuple[UsageKind, ...] = get_args(UsageKind)


async def usage(ctx: Context, cls: type[UsageResult], query: AnyUsageQuery) -> UsagePage:
    """A page of buckets with results of ``cls``. Errors: 400, see ``stretch``."""
    page = stretch(cls.__name__, query, query.bucket_width)
    groups = [key for key in dict.fromkeys(query.group_by) if key in cls.__struct_fields__]
    keys = [key for key in groups if key in _COLUMNS]
    same = {key: _CONSTANTS[key] for key in groups if key in _CONSTANTS}
    asked = _query(page, query, cls.kinds, [_COLUMNS[key] for key in keys], tuple(dict.fromkeys(cls.sums.values())))

    def results(start: int, end: int, sums: Sequence[LedgerSum]) -> list[UsageResult]:
        return [convert(_shown(cls, each, start, end) | _keys(each, keys) | same, cls) for each in sums]

    return _page(page, await ctx.ports.database.ledger.total(asked) if cls.kinds else [], results)


async def costs(ctx: Context, query: CostsQuery) -> UsagePage:
    """A page of days with what they cost. Errors: 400, see ``stretch``."""
    page = stretch("costs", query, query.bucket_width, COSTS_LIMITS, whole=True)
    keys = [key for key in dict.fromkeys(query.group_by) if key in _COLUMNS]
    columns = [_COLUMNS[key] for key in keys]
    asked = _query(page, query, _EVERYTHING, [*columns, "kind", "model", "batch"])
    prices = ctx.ports.prices
    sums = await ctx.ports.database.ledger.total(asked)
    await prices.learn({each.group["model"] for each in sums})

    def results(start: int, end: int, sums: Sequence[LedgerSum]) -> list[CostsResult]:
        lines: dict[tuple[Any, ...], LineItem] = {}
        for each in sums:
            group = each.group
            for item in prices.bill(group["kind"], group["model"], bool(group["batch"]), each.sums):
                if not query.line_items or item.name in query.line_items:
                    line = item.name if "line_item" in query.group_by else ""
                    place = (*(group[column] for column in columns), line)
                    lines[place] = _added(lines.get(place), item)
        return [_cost(lines[place], dict(zip(keys, place, strict=False)), query.group_by) for place in sorted(lines)]

    return _page(page, sums, results)


def _added(line: LineItem | None, item: LineItem) -> LineItem:
    if line is None:
        return item
    return item._replace(dollars=line.dollars + item.dollars, quantity=line.quantity + item.quantity)


def _cost(line: LineItem, group: dict[str, str], group_by: Sequence[str]) -> CostsResult:
    by_line = "line_item" in group_by
    return CostsResult(
        amount=CostAmount(value=line.dollars),
        line_item=line.name if by_line else None,
        project_id=group.get("project_id") or None,
        user_id=(group["user_id"] or None) if "user_id" in group else UNSET,
        api_key_id=group.get("api_key_id") or None,
        api_source="unlabeled" if "api_source" in group_by else UNSET,
        organization_id=ORGANIZATION,
        quantity=line.quantity if by_line else None,
        quantity_unit=line.unit if by_line else None,
    )


def _query(
    page: Stretch,
    query: BucketQuery,
    kinds: tuple[UsageKind, ...],
    columns: Sequence[str],
    measures: tuple[str, ...] = MEASURES,
) -> LedgerQuery:
    where = {column: list(some) for name, column in _FILTERS.items() if (some := getattr(query, name, None))}
    if (batch := getattr(query, "batch", None)) is not None:
        where["batch"] = [batch]
    return LedgerQuery(
        start=page.start,
        end=page.until,
        width=page.width,
        kinds=kinds,
        group_by=tuple(columns),
        measures=measures,
        where=where,
    )


Results = Callable[[int, int, Sequence[LedgerSum]], list[Any]]


def _page(page: Stretch, sums: Sequence[LedgerSum], results: Results) -> UsagePage:
    """Every bucket of the page; one in which nothing was used has no results."""
    by_bucket: dict[int, list[LedgerSum]] = defaultdict(list)
    for each in sums:
        by_bucket[each.at].append(each)
    data = [
        UsageBucket(
            start_time=start, end_time=end, results=results(start, end, by_bucket.get(start - start % page.width, ()))
        )
        for start, end in page.buckets()
    ]
    return UsagePage(data=data, has_more=page.next_page is not None, next_page=page.next_page)


def _shown(cls: type[UsageResult], each: LedgerSum, start: int, end: int) -> dict[str, Any]:
    shown: dict[str, Any] = {name: each.sums[measure] for name, measure in cls.sums.items()}
    if "seconds" in shown:
        shown["seconds"] = round(shown["seconds"] / 1000)
    if cls is VectorStoresUsage:
        shown["usage_bytes"] = round(shown["usage_bytes"] / _hours(start, end))
    return shown


def _hours(start: int, end: int) -> int:
    """The hours that begin in a bucket: each has a sample."""
    return max(1, (end - 1) // HOUR - (start - 1) // HOUR)


def _keys(each: LedgerSum, keys: Sequence[str]) -> dict[str, Any]:
    return dict(_key(key, each.group[_COLUMNS[key]]) for key in keys)


def _key(key: str, value: Any) -> tuple[str, Any]:
    return key, bool(value) if key == "batch" else value or None
