"""The console in a real browser: its first paint, and how soon the next page of a list is there on a grown database.

``python -m benchmarks.console --threads 1000,1000000 --rows 1000000,10000000``: so many threads (each with a message
and a run) and rows of a month's usage, sizes in turn. The browser is the tests' (``python -m tests.browser install``).
The first paint is that of a browser that has never been there. Lists are timed in the page: from the press of *Show
more*, or of a link, until the rows stand there, with the server's time in it.
"""

import argparse
import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page

from benchmarks.growth_seed import MADE, a_thread, insert
from benchmarks.measure import API_KEY, Program, Row, everloom, folder, machine, median, note, options, table
from benchmarks.usage import MONTH, PIECE, ledger_rows, write
from everloom.kit.ids import new_id
from everloom.objects.base import Object
from everloom.objects.messages import Message, Text, TextContent
from everloom.objects.runs import Run
from everloom.store.sqlite import SqliteDatabase
from everloom.work.organization.establishing import DEFAULT_PROJECT
from tests.browser import chromium

ADMIN_KEY = "sk-benchmark-admin-0123456789"
PAINT_MS = 300.0
"""The budget of the first paint."""

GROWN = 1.5
"""What a page of a list may cost of its time on the smallest."""

_PATIENCE_MS = 120_000.0
_NEXT = """async () => {
    const rows = () => document.querySelectorAll('tbody tr').length;
    const before = rows(), began = performance.now();
    [...document.querySelectorAll('button')].find((one) => one.textContent.trim() === 'Show more').click();
    while (rows() <= before) await new Promise((done) => setTimeout(done, 1));
    return performance.now() - began;
}"""
_OPENED = """async (address) => {
    const began = performance.now();
    location.hash = address;
    while (!document.querySelector('tbody tr')) await new Promise((done) => setTimeout(done, 1));
    return performance.now() - began;
}"""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--threads", default="1000,1000000", help="threads of the project, sizes in turn")
    parser.add_argument("--rows", default="1000000,10000000", help="rows of the ledger, sizes in turn")
    parser.add_argument("--pages", type=int, default=5, help="pages of each list; the median is shown")
    asked = parser.parse_args()
    print(f"{table(measure(asked))}\n\n{machine()}")


def measure(asked: argparse.Namespace) -> list[Row]:
    """The table's rows."""
    sizes = list(zip(map(int, asked.threads.split(",")), map(int, asked.rows.split(",")), strict=True))
    rows: list[Row] = []
    first: dict[str, float] = {}
    for threads, entries in sizes:
        with folder() as home:
            note(f"{threads:,} threads, {entries:,} rows")
            _seed(home, threads, entries)  # Before there is a browser: beside it no event loop can run here.
            with everloom(home) as server, chromium() as browser:
                if not rows:
                    rows += _paints(browser, server, max(asked.repetitions, 5))
                found = _lists(browser, server, asked.pages)
        for what, milliseconds in found.items():
            size = f"{entries:,} rows of usage" if what.startswith("usage") else f"{threads:,} threads"
            rows.append(_row(f"{what}, {size}", milliseconds, first.get(what)))
            first.setdefault(what, milliseconds)
    return rows


def _row(what: str, milliseconds: float, smallest: float | None) -> Row:
    if smallest is None:
        return Row(what, f"{milliseconds:.0f} ms")
    met = milliseconds <= GROWN * smallest or milliseconds - smallest < 10
    return Row(what, f"{milliseconds:.0f} ms", f"{smallest:.0f} ms at the smallest", f"<= {GROWN} x", met)


# --- the browser -----------------------------------------------------------------------------------------------------


def _paints(browser: Browser, server: Program, times: int) -> Iterator[Row]:
    """The first contentful paint: of the door, and of a page behind it."""
    for what, address, keys in (("the door", "", False), ("a page", "#/threads", True)):
        taken = []
        for _ in range(times):
            with _page(browser, keys=keys) as page:
                page.goto(f"{_base(server)}/console/{address}")
                page.locator("h1").first.wait_for()
                taken.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        shown = median(taken)
        yield Row(
            f"first paint of {what}, nothing cached", f"{shown:.0f} ms", "", f"<= {PAINT_MS:.0f} ms", shown <= PAINT_MS
        )


def _lists(browser: Browser, server: Program, pages: int) -> dict[str, float]:
    """Milliseconds: of the next page of threads, and of a month's usage by model."""
    with _page(browser, keys=True) as page:
        page.goto(f"{_base(server)}/console/#/keys")
        page.locator("tbody tr").first.wait_for()
        page.evaluate("location.hash = '#/threads'")
        page.get_by_role("button", name="Show more").wait_for()
        threads = [page.evaluate(_NEXT) for _ in range(pages)]
        usage = []
        for _ in range(pages):
            page.evaluate("location.hash = '#/first-steps'")
            page.locator(".findings").wait_for()
            usage.append(page.evaluate(_OPENED, "#/usage?by=model&days=30"))
    return {"threads, the next page": median(threads), "usage of a month by model, opened": median(usage)}


@contextlib.contextmanager
def _page(browser: Browser, *, keys: bool) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        context.set_default_timeout(_PATIENCE_MS)
        if keys:
            kept = {"everloom.key": API_KEY, "everloom.admin_key": ADMIN_KEY}
            lines = "".join(f"sessionStorage.setItem('{name}', '{key}');" for name, key in kept.items())
            context.add_init_script(lines)
        yield context.new_page()


def _base(server: Program) -> str:
    return server.url.rpartition("/")[0]


# --- the database ----------------------------------------------------------------------------------------------------


def _seed(home: Path, threads: int, entries: int) -> None:
    """A database with so many threads, and so much usage of the last month, rolled up as a server has it."""
    asyncio.run(_use(home / "everloom.db", entries))
    with contextlib.closing(sqlite3.connect(home / "everloom.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        insert(connection, DEFAULT_PROJECT, _threads(threads))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def _use(file: Path, entries: int) -> None:
    start = int(time.time()) - MONTH
    database = SqliteDatabase(file, synchronous="NORMAL")
    await database.open()
    try:
        for begin in range(0, entries, PIECE):
            await write(database, ledger_rows("sqlite", begin, min(begin + PIECE, entries), entries, start))
        while await database.ledger.roll(start + MONTH):
            pass
    finally:
        await database.close()


def _threads(count: int) -> Iterator[Object]:
    for number in range(count):
        thread = a_thread(user=f"u{number % 1000}", app="x")
        run = Run(
            id=new_id("run_"),
            created_at=MADE,
            assistant_id="asst_1",
            thread_id=thread.id,
            model="m",
            status="completed",
        )
        said = TextContent(text=Text(value=f"How much is {number} and one?"))
        message = Message(
            id=new_id("msg_"), created_at=MADE, thread_id=thread.id, role="user", status="completed", content=[said]
        )
        yield from (thread, message, run)


if __name__ == "__main__":
    main()
