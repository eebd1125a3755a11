"""From the records of requests to rows in the ledger: soon, many at once, each once, also through an outage."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from everloom.context import ledger
from everloom.context.ledger import LedgerBuffer, row_of, rows_of
from everloom.context.metering import Meter, Outcome, UsageRecord
from everloom.kit.errors import Unavailable
from everloom.models.usage import TokenDetails, details_of
from everloom.objects.ledger import LedgerRow
from everloom.objects.tools import EstimatedUsage, Usage
from tests.asking import CALLER


class Table:
    """A ledger whose database is away for the first ``fails`` writes."""

    def __init__(self, fails: int = 0, error: Exception | None = None) -> None:
        self.writes: list[list[LedgerRow]] = []
        self.kept: dict[int, LedgerRow] = {}
        self.written = asyncio.Event()
        self._fails = fails
        self._error = error or Unavailable("its database", "gone")

    async def append(self, rows: Sequence[LedgerRow]) -> None:
        self.writes.append(list(rows))
        if len(self.writes) <= self._fails:
            raise self._error
        self.kept |= {row.id: row for row in rows}
        self.written.set()

    async def total(self, query: Any) -> list[Any]:
        raise NotImplementedError

    async def roll(self, before: int) -> int:
        raise NotImplementedError


def a_record(**fields: Any) -> UsageRecord:
    usage = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
    known: dict[str, Any] = {"caller": CALLER, "capability": "chat", "model": "gpt-4o", "outcome": "completed"}
    return UsageRecord(**known | {"usage": usage} | fields)


def test_a_row_says_who_used_what() -> None:
    record = a_record(details=TokenDetails(cached=1, heard=2, spoken=1))
    Meter().record(record)
    row = row_of(record)
    assert row is not None
    assert (row.project, row.key_id, row.user_id, row.kind, row.model) == (
        "proj_a",
        "a key",
        "somebody",
        "chat",
        "gpt-4o",
    )
    assert (row.input_tokens, row.output_tokens, row.cached_tokens) == (3, 2, 1)
    assert (row.input_audio_tokens, row.output_audio_tokens, row.estimated, row.batch) == (2, 1, False, False)
    assert abs(row.at - time.time()) < 5
    assert rows_of([record]) == (row,)  # the same row, however often it is made


@pytest.mark.parametrize(
    ("outcome", "usage", "kept"),
    [
        ("completed", None, True),
        ("closed", None, True),
        ("refused", None, False),
        ("failed", None, False),
        ("failed", EstimatedUsage(prompt_tokens=1, total_tokens=1), True),
    ],
)
def test_what_brought_nothing_is_no_row(outcome: Outcome, usage: Usage | None, kept: bool) -> None:
    assert (row_of(a_record(outcome=outcome, usage=usage)) is not None) is kept


def test_numbers_that_no_server_can_mean_are_cut() -> None:
    row = row_of(a_record(usage=Usage(prompt_tokens=10**30, completion_tokens=-5), model="m" * 10_000))
    assert row is not None
    assert (row.input_tokens, row.output_tokens, len(row.model)) == (1_000_000_000, 0, 256)


@pytest.mark.parametrize("told", [None, 1, [], {}, {"prompt_tokens_details": 5}, {"prompt_tokens_details": {"x": 1}}])
def test_details_that_are_none_are_none(told: Any) -> None:
    assert details_of(told) is None


def test_details_are_read_under_the_names_of_several_servers() -> None:
    told = {"input_tokens": 8, "input_tokens_details": {"cached_tokens": "7"}}
    assert details_of(told) == TokenDetails(cached=7)
    thought = {"completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 3}}
    assert details_of(thought) == TokenDetails(thought=3)
    assert details_of({**thought, "completion_tokens": 2}) == TokenDetails(thought=2)
    assert details_of({"input_tokens": 1, "cache_read_input_tokens": 4}) == TokenDetails(cached=4)


def test_details_are_of_what_there_is() -> None:
    """More of a kind than of all would be paid for on top of it, or be taken off for its lower price."""
    read, written = {"cached_tokens": 10**9, "audio_tokens": 10**9}, {"audio_tokens": 10**9}
    told = {"prompt_tokens_details": read, "completion_tokens_details": written}
    assert details_of(told) is None
    assert details_of(told | {"prompt_tokens": 5}) == TokenDetails(cached=5, heard=5)
    assert details_of(told | {"prompt_tokens": 5, "completion_tokens": 3}) == TokenDetails(cached=5, heard=5, spoken=3)
    record = a_record()
    record.believe(told | {"prompt_tokens": 5, "completion_tokens": 3})
    row = row_of(record)
    assert row is not None
    assert (row.input_tokens, row.cached_tokens, row.input_audio_tokens, row.output_audio_tokens) == (5, 5, 5, 3)


def test_many_rows_are_one_write_and_soon() -> None:
    async def main() -> None:
        table = Table()
        buffer = LedgerBuffer(table)
        for _ in range(100):
            buffer.take(a_record())
        await asyncio.wait_for(table.written.wait(), 0.5)
        assert len(table.writes) == 1
        buffer.take(a_record())
        await buffer.close(5)
        assert len(table.kept) == 101
        await buffer.close(5)

    asyncio.run(main())


def test_rows_wait_for_a_database_that_is_away() -> None:
    async def main() -> None:
        table = Table(fails=2)
        buffer = LedgerBuffer(table)
        buffer.take(a_record())
        await asyncio.sleep(0.1)
        buffer.take(a_record())
        await buffer.close(10)
        assert len(table.kept) == 2
        assert table.writes[0] == table.writes[1]

    asyncio.run(main())


def test_a_database_that_stays_away_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(ledger, "MOST_WAITING", 10)
        table = Table(fails=1000)
        buffer = LedgerBuffer(table)
        for _ in range(20):
            buffer.take(a_record())
        await buffer.close(0.1)
        assert [len(write) for write in table.writes] == [10]

    asyncio.run(main())


def test_rows_that_cannot_be_kept_do_not_stop_the_others() -> None:
    async def main() -> None:
        table = Table(fails=1, error=ValueError("no such column"))
        buffer = LedgerBuffer(table)
        buffer.take(a_record())
        await asyncio.sleep(0.1)
        buffer.take(a_record())
        await buffer.close(5)
        assert len(table.kept) == 1

    asyncio.run(main())


def test_a_meter_aside_counts_and_hands_over() -> None:
    heard: list[UsageRecord] = []
    aside: list[UsageRecord] = []
    meter = Meter()
    meter.on_record = heard.append
    meter.aside(aside.append).record(a_record())
    meter.record(a_record())
    assert (len(heard), len(aside)) == (1, 1)
