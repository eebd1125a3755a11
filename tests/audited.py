"""Audit logs without a server around them: made, signed, looked at, and laid hands on in the database itself."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psycopg

from everloom.context import Ports
from everloom.evidence.base import Evidence, Sink
from everloom.evidence.keys import KeyFile, PublicKey
from everloom.evidence.witness import WitnessFile, read_witness
from everloom.objects.audit import BY_OPERATOR, AuditEvent, AuditEventType, Checkpoint
from everloom.store.base import SYSTEM, Audit, Database
from everloom.work.organization import checkpoints
from everloom.work.organization.audit_verification import Verification, verify
from tests.blobs import ports_of
from tests.store.databases import address, database_at

T = TypeVar("T")


def an_event(id: str = "proj_1", type: AuditEventType = "project.updated", **fields: Any) -> AuditEvent:
    made = AuditEvent(type=type, details={"id": id}, actor=BY_OPERATOR)
    return msgspec.structs.replace(made, **fields)


async def write(database: Database, *ids: str) -> None:
    """An event for each, in writes of their own."""
    for id in ids:
        await database.store(SYSTEM).write(Audit((an_event(id),)))


class AuditedDatabase:
    """A database of an adapter with key and witness beside it; each call opens it anew, as another process would."""

    def __init__(self, adapter: str, folder: Path) -> None:
        self.adapter = adapter
        self.folder = folder
        self.where = address(adapter, folder)
        self.key = folder / "audit-key.pem"
        self.witness = folder / "audit-witness.jsonl"

    def evidence(self, sink: Sink | None = None) -> Evidence:
        return Evidence(signer=KeyFile(self.key, make=True), witness=WitnessFile(self.witness), sink=sink)

    def ports(self, database: Database, sink: Sink | None = None) -> Ports:
        return msgspec.structs.replace(ports_of(database, self.folder), evidence=self.evidence(sink))

    def run(self, work: Callable[[Database], Awaitable[T]]) -> T:
        """Do something with the open database."""

        async def main() -> T:
            database = database_at(self.where)
            await database.open()
            try:
                return await work(database)
            finally:
                await database.close()

        return asyncio.run(main())

    def write(self, *ids: str) -> None:
        """An event for each."""
        self.run(lambda database: write(database, *ids))

    def sign(self) -> None:
        """Have a checkpoint of the end, as at a stop."""
        self.run(lambda database: checkpoints.at_stop(self.ports(database)))

    def verify(self, *keys: Path, witness: bool = True) -> Verification:
        """What comes of looking, by the key here, or by others."""
        trusted = [PublicKey.read(path) for path in keys or [self.key]]
        seen, illegible = read_witness(self.witness) if witness else (None, {})

        def is_signed(each: Checkpoint) -> bool:
            return any(key.has_signed(each) for key in trusted)

        return self.run(lambda database: verify(database.audit, seen, is_signed, illegible=illegible))

    def accept(self) -> None:
        """Have what is there accepted, as the operator would."""
        self.run(lambda database: checkpoints.accept(database.audit, self.evidence()))

    def by_hand(self, *statements: str, **values: Any) -> None:
        """Lay hands on the database."""
        for statement in statements:
            self.query(statement, **values)

    def query(self, statement: str, **values: Any) -> list[Sequence[Any]]:
        """A statement with ``:name`` parameters, past the program; its rows."""
        if self.adapter == "sqlite":
            with contextlib.closing(sqlite3.connect(self.where)) as file, file:
                return file.execute(statement, values).fetchall()
        for name in values:
            statement = statement.replace(f":{name}", f"%({name})s")
        with psycopg.connect(self.where) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []


def a_signed_log(adapter: str, folder: Path) -> AuditedDatabase:
    """Twelve rows, signed at the fifth and the ninth."""
    made = AuditedDatabase(adapter, folder)
    made.write(*(f"r{number}" for number in range(1, 6)))
    made.sign()
    made.write(*(f"r{number}" for number in range(6, 10)))
    made.sign()
    made.write("r10", "r11", "r12")
    return made
