"""The ledger's contract: what is entered is summed exactly, once, rolled up or not, on every adapter."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from everloom.objects.ledger import DAY, DIMENSIONS, HOUR, MINUTE, LedgerQuery, LedgerRow, new_entry_id
from everloom.store.base import Absent, Add, Database, Enter
from tests.store.databases import on_every_database
from tests.store.things import a_thread

MIDNIGHT = 1_739_145_600
KINDS = ("chat", "embed", "draw")
"""Those of the rows that are made up."""


def rows_at(times: Sequence[int], seed: int = 0) -> list[LedgerRow]:
    chance = random.Random(seed)
    return [
        LedgerRow(
            at=at,
            project=chance.choice(["proj_a", "proj_b"]),
            kind=chance.choice(["chat", "embed", "draw"]),
            key_id=chance.choice(["", "key_1", "key_2"]),
            user_id=chance.choice(["", "user_1"]),
            model=chance.choice(["gpt-4o", "gpt-4o-mini", "it's"]),
            batch=chance.random() < 0.3,
            estimated=chance.random() < 0.3,
            input_tokens=chance.randrange(1000),
            output_tokens=chance.randrange(1000),
            images=chance.randrange(3),
            milliseconds=chance.randrange(10**9),
            bytes=chance.randrange(2**42),
        )
        for at in times
    ]


def expected(rows: Sequence[LedgerRow], query: LedgerQuery) -> dict[tuple[Any, ...], dict[str, int]]:
    """The same sums, in Python."""
    found: dict[tuple[Any, ...], Counter[str]] = {}
    for row in rows:
        fits = all(getattr(row, column) in values for column, values in query.where.items())
        if query.start <= row.at < query.end and row.kind in query.kinds and fits:
            group = (row.at - row.at % query.width, *(getattr(row, column) for column in query.group_by))
            found.setdefault(group, Counter()).update({measure: getattr(row, measure) for measure in query.measures})
    return {group: {measure: sums[measure] for measure in query.measures} for group, sums in found.items()}


async def totals(database: Database, query: LedgerQuery) -> dict[tuple[Any, ...], dict[str, int]]:
    found = await database.ledger.total(query)
    assert [(each.at, *each.group.values()) for each in found] == sorted(
        (each.at, *each.group.values()) for each in found
    )
    return {(each.at, *(each.group[column] for column in query.group_by)): each.sums for each in found}


def queries() -> list[LedgerQuery]:
    whole: dict[str, Any] = {"start": MIDNIGHT, "end": MIDNIGHT + 3 * DAY, "width": DAY, "kinds": KINDS}
    odd: dict[str, Any] = whole | {"start": MIDNIGHT + 12_345, "end": MIDNIGHT + 2 * DAY + 54_321}
    return [
        LedgerQuery(**whole),
        LedgerQuery(**odd),
        LedgerQuery(**odd | {"width": HOUR}),
        LedgerQuery(**odd | {"width": MINUTE, "end": MIDNIGHT + DAY}),
        LedgerQuery(**odd | {"end": MIDNIGHT + 12_400}),
        LedgerQuery(**whole | {"start": MIDNIGHT + HOUR, "end": MIDNIGHT + 5 * HOUR}),
        LedgerQuery(**odd, group_by=("model",)),
        LedgerQuery(**odd, group_by=("model",), measures=("bytes", "requests")),
        LedgerQuery(**odd, group_by=DIMENSIONS),
        LedgerQuery(**odd | {"kinds": ("chat",)}, group_by=("project", "batch"), where={"batch": [True]}),
        LedgerQuery(**odd, where={"project": ["proj_a"], "model": ["it's", "gpt-4o"], "key_id": ["", "key_1"]}),
        LedgerQuery(**odd, where={"project": ["proj_c"]}),
        LedgerQuery(**whole | {"end": MIDNIGHT}),
    ]


@on_every_database
async def test_sums_are_those_of_the_rows_before_and_after_they_are_rolled_up(database: Database) -> None:
    chance = random.Random(1)
    times = sorted(chance.randrange(MIDNIGHT - DAY, MIDNIGHT + 4 * DAY) for _ in range(3000))
    edges = [MIDNIGHT + n * HOUR + d for n in range(0, 72, 5) for d in (-1, 0, 1)]
    rows = rows_at([*times, *edges])
    await database.ledger.append(rows[:2000])
    await database.ledger.append(rows[2000:])

    async def check() -> None:
        for query in queries():
            assert await totals(database, query) == expected(rows, query), query

    await check()
    assert await database.ledger.roll(MIDNIGHT + DAY + 100) > 0
    await check()
    while await database.ledger.roll(MIDNIGHT + 2 * DAY):
        pass
    await check()
    late = rows_at([MIDNIGHT + 7, MIDNIGHT + HOUR + 9, MIDNIGHT + DAY + 3], seed=2)
    rows += late
    await database.ledger.append(late)
    await check()
    while await database.ledger.roll(MIDNIGHT + 5 * DAY):
        pass
    await check()
    assert await database.ledger.roll(MIDNIGHT + 5 * DAY) == 0


@on_every_database
async def test_what_is_entered_twice_counts_once(database: Database) -> None:
    rows = rows_at([MIDNIGHT, MIDNIGHT])
    query = queries()[0]
    for _ in range(2):
        await database.ledger.append(rows)
    await database.store("proj_a").write(Enter(tuple(rows)))
    assert await totals(database, query) == expected(rows, query)
    while await database.ledger.roll(MIDNIGHT + DAY):
        pass
    await database.ledger.append(rows)
    assert await totals(database, query) == expected(rows, query)
    same_second_other_id = msgspec.structs.replace(rows[0], id=new_entry_id())
    await database.ledger.append([same_second_other_id])
    assert await totals(database, query) == expected([*rows, same_second_other_id], query)


@on_every_database
async def test_rows_of_a_write_are_kept_with_it_or_not_at_all(database: Database) -> None:
    store = database.store("proj_a")
    thread, rows = a_thread(), rows_at([MIDNIGHT])
    await store.write(Add(thread))
    refused = Absent(type(thread), lambda found: RuntimeError(found.id), id=thread.id)
    with pytest.raises(RuntimeError):
        await store.write(Enter(tuple(rows)), refused)
    assert await totals(database, queries()[0]) == {}
    await store.write(Add(a_thread()), Enter(tuple(rows)))
    assert await totals(database, queries()[0]) == expected(rows, queries()[0])


@on_every_database
async def test_nothing_is_lost_or_doubled_while_others_write_and_ask(database: Database) -> None:
    rows = rows_at([MIDNIGHT + number for number in range(2000)])
    query = LedgerQuery(start=MIDNIGHT, end=MIDNIGHT + DAY, width=DAY, kinds=KINDS)
    counted = [0]

    async def write() -> None:
        for start in range(0, 2000, 50):
            await database.ledger.append(rows[start : start + 50])

    async def ask() -> None:
        while counted[-1] < 2000:
            found = await database.ledger.total(query)
            counted.append(sum(each.sums["requests"] for each in found))

    async def roll() -> None:
        while counted[-1] < 2000:
            await database.ledger.roll(MIDNIGHT + DAY)
            await asyncio.sleep(0)

    await asyncio.gather(write(), ask(), roll(), roll())
    assert counted == sorted(counted)
    assert await totals(database, query) == expected(rows, query)


@on_every_database
async def test_an_empty_ledger_has_no_sums(database: Database) -> None:
    await database.ledger.append([])
    for query in queries():
        assert await database.ledger.total(query) == []
    assert await database.ledger.roll(MIDNIGHT) == 0
    for unknown in ({"group_by": ("body",)}, {"measures": ("at",)}, {"where": {"rolled": [1]}}):
        with pytest.raises(ValueError, match="the ledger has no"):
            await database.ledger.total(msgspec.structs.replace(queries()[0], **unknown))
