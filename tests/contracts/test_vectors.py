"""The vectors' contract, on every adapter: chunks are kept whole, found by nearness and by words, and forgotten."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path

import pytest

from everloom.vectors.base import Chunk, Found, Vectors
from everloom.vectors.postgres import PostgresVectors
from everloom.vectors.sqlite import SqliteVectors
from tests.postgres import fresh_database

ADAPTERS = ("sqlite", "sqlite-uncached", "postgres", "postgres-uncached", "pgvector", "pgvector-graph")


def vectors_at(adapter: str, address: str) -> Vectors:
    """The adapter, not yet open.

    ``uncached``: every search reads the store from the database. ``graph``: pgvector's, however few there are.
    """
    kind, _, way = adapter.partition("-")
    cache_bytes = 0 if way == "uncached" else 1024**2
    if kind == "sqlite":
        return SqliteVectors(Path(address), cache_bytes=cache_bytes)
    compared = 0 if way == "graph" else 20_000
    return PostgresVectors(address, cache_bytes=cache_bytes, extension=kind == "pgvector", compared=compared)


def address_of(adapter: str, folder: Path) -> str:
    return str(folder / "data" / "vectors.db") if adapter.startswith("sqlite") else fresh_database()


async def opened(adapter: str, address: str, check: Callable[[Vectors], Awaitable[None]]) -> None:
    vectors = vectors_at(adapter, address)
    await vectors.open()
    try:
        if adapter.startswith("pgvector") and isinstance(vectors, PostgresVectors) and not vectors.with_points:
            pytest.skip("PostgreSQL has no pgvector 0.8 here (EVERLOOM_TEST_POSTGRES may name one that has)")
        await check(vectors)
    finally:
        await vectors.close()


every_adapter = pytest.mark.parametrize("adapter", ADAPTERS)


def on_every_adapter(check: Callable[[Vectors], Awaitable[None]]) -> Callable[[str, Path], None]:
    """Make a test of a coroutine that takes open vectors: once an adapter, each time on an empty database."""

    @every_adapter
    @wraps(check)
    def test(adapter: str, tmp_path: Path) -> None:
        asyncio.run(opened(adapter, address_of(adapter, tmp_path), check))

    del test.__wrapped__  # type: ignore[attr-defined]  # pytest would ask for the coroutine's parameters
    return test


def unit(*numbers: float) -> list[float]:
    length = math.sqrt(sum(number * number for number in numbers))
    return [number / length for number in numbers]


EAST, NORTH, UP = unit(1, 0, 0), unit(0, 1, 0), unit(0, 0, 1)


def a_chunk(text: str, *vectors: list[float], position: int = 0) -> Chunk:
    return Chunk(position, text, vectors or (EAST,))


def texts(found: list[Found]) -> list[str]:
    return [one.text for one in found]


@on_every_adapter
async def test_the_nearest_come_first_with_their_cosine(vectors: Vectors) -> None:
    between = unit(1, 1, 0)
    chunks = [a_chunk("east", EAST), a_chunk("between", between, position=1), a_chunk("west", unit(-1, 0, 0))]
    await vectors.put("p", "vs", "file-1", chunks)
    found = await vectors.nearest("p", "vs", EAST, 10)
    assert [(one.file_id, one.position, one.text) for one in found] == [
        ("file-1", 0, "east"),
        ("file-1", 1, "between"),
        ("file-1", 0, "west"),
    ]
    assert [one.score for one in found] == pytest.approx([1.0, math.sqrt(0.5), -1.0], abs=1e-3)
    assert texts(await vectors.nearest("p", "vs", unit(1, 2, 0), 1)) == ["between"]


@on_every_adapter
async def test_the_nearest_vector_of_a_chunk_counts_and_the_chunk_once(vectors: Vectors) -> None:
    both = a_chunk("both", EAST, NORTH)
    await vectors.put("p", "vs", "file-1", [both, a_chunk("up", UP, position=1)])
    for asked in (EAST, NORTH):
        found = await vectors.nearest("p", "vs", asked, 2)
        assert texts(found) == ["both", "up"]
        assert found[0].score == pytest.approx(1, abs=1e-3)


@on_every_adapter
async def test_put_replaces_what_the_file_had(vectors: Vectors) -> None:
    await vectors.put("p", "vs", "file-1", [a_chunk("old apples"), a_chunk("old pears", position=1)])
    await vectors.put("p", "vs", "file-2", [a_chunk("plums")])
    assert len(await vectors.nearest("p", "vs", EAST, 10)) == 3
    await vectors.put("p", "vs", "file-1", [a_chunk("new apples")])
    assert await vectors.count("p", "vs") == 2
    assert sorted(texts(await vectors.nearest("p", "vs", EAST, 10))) == ["new apples", "plums"]
    assert texts(await vectors.matching("p", "vs", "apples pears", 10)) == ["new apples"]
    await vectors.put("p", "vs", "file-1", [])
    assert texts(await vectors.nearest("p", "vs", EAST, 10)) == ["plums"]


@on_every_adapter
async def test_a_file_or_a_store_is_forgotten(vectors: Vectors) -> None:
    await vectors.put("p", "vs", "file-1", [a_chunk("apples")])
    await vectors.put("p", "vs", "file-2", [a_chunk("apples and pears")])
    await vectors.put("p", "vs2", "file-1", [a_chunk("apples elsewhere")])
    await vectors.remove("p", "vs", "file-2")
    await vectors.remove("p", "vs", "file-3")
    await vectors.remove("p", "vs3")
    assert texts(await vectors.nearest("p", "vs", EAST, 10)) == ["apples"]
    await vectors.remove("p", "vs")
    assert await vectors.count("p", "vs") == 0
    assert await vectors.nearest("p", "vs", EAST, 10) == []
    assert await vectors.matching("p", "vs", "apples", 10) == []
    assert texts(await vectors.matching("p", "vs2", "apples", 10)) == ["apples elsewhere"]
    await vectors.put("p", "vs", "file-9", [a_chunk("back again", unit(1, 0))])
    assert texts(await vectors.nearest("p", "vs", unit(1, 0), 10)) == ["back again"]


@on_every_adapter
async def test_projects_and_stores_see_nothing_of_each_other(vectors: Vectors) -> None:
    await vectors.put("p", "vs", "file-1", [a_chunk("s1 s2 s3 s4 mine")])
    await vectors.put("q", "vs", "file-1", [a_chunk("theirs")])
    assert await vectors.count("q", "vs") == 1
    assert texts(await vectors.nearest("p", "vs", EAST, 10)) == ["s1 s2 s3 s4 mine"]
    assert texts(await vectors.matching("q", "vs", "mine theirs", 10)) == ["theirs"]
    for words in ("s1", "s2", "place", "1/mine", "place : s1"):
        assert await vectors.matching("q", "vs", words, 10) == []
    await vectors.remove("q", "vs")
    assert await vectors.count("p", "vs") == 1


@on_every_adapter
async def test_only_the_files_asked_for_are_searched(vectors: Vectors) -> None:
    for number in range(5):
        chunk = a_chunk(f"apple number{number}", unit(1, number, 0))
        await vectors.put("p", "vs", f"file-{number}", [chunk])
    some = ["file-3", "file-1", "file-77"]
    assert texts(await vectors.nearest("p", "vs", EAST, 10, some)) == ["apple number1", "apple number3"]
    assert sorted(texts(await vectors.matching("p", "vs", "apple", 10, some))) == ["apple number1", "apple number3"]
    assert await vectors.nearest("p", "vs", EAST, 10, []) == []
    assert await vectors.matching("p", "vs", "apple", 10, []) == []


@on_every_adapter
async def test_rare_words_count_more_than_common_ones(vectors: Vectors) -> None:
    for number in range(30):
        await vectors.put("p", "vs", f"file-{number}", [a_chunk(f"the report of the year {1990 + number}")])
    await vectors.put("p", "vs", "file-x", [a_chunk("the code is XK-4711")])
    found = await vectors.matching("p", "vs", "What does the report say about xk 4711?", 3)
    assert found[0].text == "the code is XK-4711"
    assert 0.3 < found[0].score <= 1
    assert all(one.score < found[0].score for one in found[1:])
    assert texts(await vectors.matching("p", "vs", "2003", 5)) == ["the report of the year 2003"]
    assert (await vectors.matching("p", "vs", "2003", 5))[0].score == pytest.approx(1)
    assert await vectors.matching("p", "vs", "nowhere", 5) == []


@on_every_adapter
async def test_a_word_of_every_chunk_is_found_where_it_is_all_there_is(vectors: Vectors) -> None:
    for number in range(4):
        await vectors.put("p", "vs", f"file-{number}", [a_chunk("apple")])
    assert len(await vectors.matching("p", "vs", "apple", 3)) == 3


AWKWARD = [
    '"',
    "'; DROP TABLE words; --",
    "a AND (b OR",
    "NEAR(a b)",
    "text:",
    "*",
    "-",
    "^a + \\ | & ! :*",
    "\0",
    "\ud800",
    "",
    "𝄞 ✈",
    "x" * 5000,
    " ".join(f"w{number}" for number in range(3000)),
]


@on_every_adapter
async def test_any_text_is_a_query_and_a_chunk(vectors: Vectors) -> None:
    chunks = [a_chunk(f"{text} marker", position=place) for place, text in enumerate(AWKWARD)]
    await vectors.put("p", "vs", "file-1", chunks)
    for text in AWKWARD:
        for found in await vectors.matching("p", "vs", text, 5):
            assert 0 <= found.score <= 1
    everything = await vectors.nearest("p", "vs", EAST, 50)
    assert sorted(one.position for one in everything) == list(range(len(AWKWARD)))
    assert {one.text for one in everything} >= {f"{AWKWARD[0]} marker", f"{AWKWARD[7]} marker", f"{AWKWARD[11]} marker"}
    found = await vectors.matching("p", "vs", "drop tables", 5)
    assert texts(found) == [f"{AWKWARD[1]} marker"]
    await vectors.remove("p", "vs", "file-1")
    assert await vectors.matching("p", "vs", "marker", 5) == []


@on_every_adapter
async def test_case_accents_and_marks_do_not_part_words(vectors: Vectors) -> None:
    await vectors.put("p", "vs", "file-1", [a_chunk("Le Café de Flore: src/main.py, foo_bar")])
    await vectors.put("p", "vs", "file-2", [a_chunk("nothing of it", NORTH)])
    for words in ("cafe", "CAFÉ", "main", "main.py", "foo_bar", "FLORE?"):
        assert [one.file_id for one in await vectors.matching("p", "vs", words, 5)] == ["file-1"], words


@on_every_adapter
async def test_vectors_of_another_size_are_refused_and_leave_nothing(vectors: Vectors) -> None:
    await vectors.put("p", "vs", "file-1", [a_chunk("first")])
    with pytest.raises(ValueError, match="3 dimensions"):
        await vectors.put("p", "vs", "file-1", [a_chunk("second"), a_chunk("flat", unit(1, 0), position=1)])
    with pytest.raises(ValueError, match="dimensions"):
        await vectors.put("p", "vs", "file-2", [Chunk(0, "none", ())])
    with pytest.raises(ValueError, match="3 dimensions"):
        await vectors.nearest("p", "vs", unit(1, 0), 5)
    assert texts(await vectors.nearest("p", "vs", EAST, 5)) == ["first"]
    assert await vectors.count("p", "vs") == 1


@on_every_adapter
async def test_the_answer_is_that_of_comparing_everything(vectors: Vectors) -> None:
    chance = random.Random(7)
    known: dict[tuple[str, int], list[list[float]]] = {}

    def random_unit() -> list[float]:
        return unit(*(chance.gauss(0, 1) for _ in range(16)))

    async def put(file: int) -> None:
        chunks = [
            Chunk(place, f"{file} {place}", [random_unit() for _ in range(chance.randint(1, 3))]) for place in range(20)
        ]
        await vectors.put("p", "vs", f"file-{file}", chunks)
        known.update({(f"file-{file}", chunk.position): list(map(list, chunk.vectors)) for chunk in chunks})

    async def check(files: list[str] | None = None) -> None:
        asked = random_unit()
        scores = {
            key: max(sum(a * b for a, b in zip(vector, asked, strict=True)) for vector in own)
            for key, own in known.items()
            if files is None or key[0] in files
        }
        best = sorted(scores.values(), reverse=True)[:10]
        found = await vectors.nearest("p", "vs", asked, 10, files)
        assert [one.score for one in found] == pytest.approx(best, abs=2e-3)
        assert [scores[one.file_id, one.position] for one in found] == pytest.approx(best, abs=4e-3)

    for file in range(8):
        await put(file)
        await check()
    await put(3)
    await check()
    await vectors.remove("p", "vs", "file-5")
    known = {key: own for key, own in known.items() if key[0] != "file-5"}
    await check()
    await check(["file-1", "file-7"])


@on_every_adapter
async def test_many_at_once(vectors: Vectors) -> None:
    async def work(number: int) -> None:
        for _ in range(3):
            await vectors.put("p", f"vs{number % 2}", f"file-{number}", [a_chunk(f"apple{number}", unit(1, number, 0))])
            await vectors.nearest("p", f"vs{number % 2}", EAST, 3)
            await vectors.matching("p", f"vs{number % 2}", f"apple{number}", 3)

    await asyncio.gather(*(work(number) for number in range(12)))
    for store in ("vs0", "vs1"):
        assert await vectors.count("p", store) == 6
        found = await vectors.nearest("p", store, EAST, 20)
        assert len({one.file_id for one in found}) == len(found) == 6


@every_adapter
def test_what_was_put_is_there_when_opened_again(adapter: str, tmp_path: Path) -> None:
    address = address_of(adapter, tmp_path)

    async def put(vectors: Vectors) -> None:
        await vectors.put("p", "vs", "file-1", [a_chunk("kept", UP)])
        await vectors.put("p", "gone", "file-1", [a_chunk(f"gone {n}", position=n) for n in range(1200)])
        await vectors.remove("p", "gone")

    async def look(vectors: Vectors) -> None:
        assert texts(await vectors.nearest("p", "vs", UP, 5)) == ["kept"]
        assert texts(await vectors.matching("p", "vs", "kept", 5)) == ["kept"]
        assert await vectors.count("p", "gone") == 0

    asyncio.run(opened(adapter, address, put))
    asyncio.run(opened(adapter, address, look))


@every_adapter
def test_what_is_not_open_says_so(adapter: str, tmp_path: Path) -> None:
    vectors = vectors_at(adapter, str(tmp_path / "never.db"))
    with pytest.raises(RuntimeError, match="not open"):
        asyncio.run(vectors.count("p", "vs"))
