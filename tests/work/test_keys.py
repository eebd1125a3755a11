"""Projects and keys, on a SQLite file."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from everloom.kit.errors import NotFound
from everloom.objects.keys import Key, Permissions
from everloom.objects.organization import ORGANIZATION, Organization
from everloom.objects.projects import Project
from everloom.objects.users import Membership, User
from everloom.store.base import SYSTEM, Database
from everloom.store.sqlite import SqliteDatabase
from everloom.work.organization.access import key_of
from everloom.work.organization.establishing import (
    DEFAULT_PROJECT,
    FIRST_OWNER,
    establish,
    first_start,
)
from everloom.work.organization.new_keys import new_key, redacted, secret_hash

T = TypeVar("T")
With = Callable[[Callable[[Database], Awaitable[T]]], T]


@pytest.fixture
def with_database(tmp_path: Path) -> With[T]:
    """Runs a coroutine with an open database; the file stays between calls."""

    async def run(do: Callable[[Database], Awaitable[T]]) -> T:
        database = SqliteDatabase(tmp_path / "everloom.db")
        await database.open()
        try:
            return await do(database)
        finally:
            await database.close()

    return lambda do: asyncio.run(run(do))


async def kept(database: Database, secret: str) -> Key:
    key = await key_of(database.store(SYSTEM), secret_hash(secret))
    if key is None:
        raise NotFound(secret)
    return key


def test_first_start_makes_a_project_and_two_keys_once(with_database: With[None]) -> None:
    async def walk(database: Database) -> None:
        first = await first_start(database)
        assert first is not None
        assert re.fullmatch(r"sk-proj-[0-9A-Za-z]{48}", first.api_key or "")
        assert re.fullmatch(r"sk-admin-[0-9A-Za-z]{48}", first.admin_key or "")
        key = await kept(database, first.api_key or "")
        assert (key.access, key.project_id) == ("project", DEFAULT_PROJECT)
        key = await kept(database, first.admin_key or "")
        assert (key.access, key.project_id) == ("admin", SYSTEM)
        assert (await database.store(SYSTEM).get(Project, DEFAULT_PROJECT)).status == "active"
        assert await first_start(database) is None
        assert len(await database.store(SYSTEM).all(Key)) == 2

    with_database(walk)


def test_servers_that_start_together_make_one_pair(with_database: With[None]) -> None:
    async def walk(database: Database) -> None:
        made = await asyncio.gather(*(first_start(database) for _ in range(5)))
        assert sum(first is not None for first in made) == 1
        assert len(await database.store(SYSTEM).all(Key)) == 2

    with_database(walk)


def test_no_secret_reaches_the_disk(with_database: With[str], tmp_path: Path) -> None:
    async def walk(database: Database) -> str:
        first = await first_start(database, admin_key="sk-admin-of-the-settings")
        assert first is not None
        assert first.admin_key is None
        return first.api_key or ""

    secret = with_database(walk)
    bytes_kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert secret_hash(secret).encode() in bytes_kept
    assert secret[8:].encode() not in bytes_kept
    assert b"sk-admin-of-the-settings" not in bytes_kept


def test_keys_of_the_settings_exist_and_replace_each_other(with_database: With[None]) -> None:
    async def walk(database: Database) -> None:
        assert await first_start(database, api_key="sk-one", admin_key="sk-boss") is None
        assert (await kept(database, "sk-one")).project_id == DEFAULT_PROJECT
        assert (await kept(database, "sk-boss")).access == "admin"
        await first_start(database, api_key="sk-two", admin_key="sk-boss")
        assert (await kept(database, "sk-two")).access == "project"
        with pytest.raises(NotFound):
            await kept(database, "sk-one")
        await first_start(database)
        assert (await kept(database, "sk-two")).access == "project"

    with_database(walk)


def test_a_key_of_the_settings_may_come_later(with_database: With[None]) -> None:
    async def walk(database: Database) -> None:
        first = await first_start(database)
        assert first is not None
        assert await first_start(database, api_key="sk-later") is None
        assert (await kept(database, "sk-later")).project_id == DEFAULT_PROJECT
        assert (await kept(database, first.api_key or "")).project_id == DEFAULT_PROJECT

    with_database(walk)


def test_short_keys_are_not_given_away() -> None:
    assert redacted("sk-short") == "***"
    assert redacted("sk-" + "a" * 21) == "sk-aaa...aaaa"


def test_commands_before_the_first_start_leave_it_its_keys(with_database: With[None]) -> None:
    async def walk(database: Database) -> None:
        await establish(database.store(SYSTEM))
        first = await first_start(database)
        assert first is not None
        assert first.api_key
        assert first.admin_key
        assert await first_start(database) is None

    with_database(walk)


def test_the_first_start_makes_an_organization_with_an_owner(with_database: With[None]) -> None:
    async def walk(database: Database) -> None:
        await first_start(database)
        store = database.store(SYSTEM)
        assert (await store.get(User, FIRST_OWNER)).role == "owner"
        assert [place.project_id for place in await store.all(Membership, user_id=FIRST_OWNER)] == [DEFAULT_PROJECT]
        assert {key.owner_id for key in await store.all(Key)} == {FIRST_OWNER}
        assert (await store.get(Organization, ORGANIZATION)).started

    with_database(walk)


@pytest.mark.parametrize(
    ("permissions", "scopes", "may", "may_not"),
    [
        ("all", [], ["api.files.read", "api.threads.write", "model.request"], []),
        ("read_only", [], ["api.files.read", "api.model.read"], ["api.files.write", "model.request"]),
        ("restricted", ["api.files.write"], ["api.files.write", "api.files.read"], ["api.threads.read"]),
        ("restricted", ["api.files.read"], ["api.files.read"], ["api.files.write", "api.threads.read"]),
        ("restricted", ["model.request"], ["model.request"], ["api.model.read"]),
        ("restricted", [], [], ["api.files.read", "model.request"]),
    ],
)
def test_what_a_key_may(permissions: Permissions, scopes: list[str], may: list[str], may_not: list[str]) -> None:
    key = new_key("sk", owner_id=FIRST_OWNER, name="a key", permissions=permissions, scopes=scopes)
    assert {scope for scope in (*may, *may_not) if key.may(scope)} == set(may)
