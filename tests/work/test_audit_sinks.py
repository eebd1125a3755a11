"""Every event reaches the sink, in order and at least once, whatever happens to it, to us, and between us."""

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from everloom.app import evidence
from everloom.config import Settings
from everloom.evidence.base import Sink, SinkAway
from everloom.evidence.syslog import SyslogSink
from everloom.evidence.webhook import WebhookSink
from everloom.store.base import Database
from everloom.work.organization import audit_sinks
from tests.audited import AuditedDatabase, write
from tests.receivers import Json, SyslogTcp, Webhook, datagrams, frames, parsed
from tests.store.databases import every_adapter


def resources(found: Sequence[Json]) -> list[str]:
    return [event[event["type"]]["id"] for event in found]


def once(found: Sequence[Json]) -> list[str]:
    """As a receiver has them that drops what it knows by its id."""
    return resources(list({event["id"]: event for event in found}.values()))


def sent(log: AuditedDatabase, sink: Sink, work: Callable[[Database], Awaitable[None]] | None = None) -> None:
    """Sweep once, beside ``work``."""

    async def main(database: Database) -> None:
        sweep = audit_sinks.sweep(log.ports(database, sink))
        try:
            await (asyncio.gather(sweep, work(database)) if work else sweep)
        finally:
            await sink.close()

    log.run(main)


NAMES = [f"r{number}" for number in range(250)]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_sinks, "LONGEST_PAUSE", 0.3)


@every_adapter
def test_all_of_it_in_order_and_not_again(adapter: str, tmp_path: Path) -> None:
    log = AuditedDatabase(adapter, tmp_path)
    log.write(*NAMES)
    with Webhook() as receiver:
        sent(log, WebhookSink(receiver.url, "a-token"))
        assert resources(receiver.events) == NAMES
        assert receiver.tokens == ["Bearer a-token"] * 3
        sent(log, WebhookSink(receiver.url))
        assert len(receiver.events) == 250
        log.write("later")
        sent(log, WebhookSink(receiver.url))
        assert resources(receiver.events) == [*NAMES, "later"]
    event = receiver.events[-1]
    assert event["chain"]["seq"] == 251
    assert event["actor"]["session"]["user"]["id"] == "operator"
    assert log.query("SELECT name, seq, until FROM audit_sinks") == [(receiver.url.removesuffix("?key=hush"), 251, 0)]


def test_refusals_silence_and_absence_are_waited_out(tmp_path: Path) -> None:
    log = AuditedDatabase("sqlite", tmp_path)
    log.write(*NAMES[:150])
    receiver = Webhook().start()
    receiver.statuses = [500, 302, 0, 204, 400, 0]
    sent(log, WebhookSink(receiver.url))
    assert once(receiver.events) == NAMES[:150]
    assert len(receiver.events) == 100 + 100 + 50 + 50, "taken, and not answered: sent again"
    receiver.stop()
    log.write(*NAMES[150:])

    async def come_back(database: Database) -> None:
        await asyncio.sleep(0.5)
        await write(database, "meanwhile")
        receiver.start()

    sent(log, WebhookSink(receiver.url), come_back)
    receiver.stop()
    assert once(receiver.events) == [*NAMES, "meanwhile"]


def test_nothing_waits_for_a_sink_that_is_away(tmp_path: Path) -> None:
    log = AuditedDatabase("sqlite", tmp_path)
    log.write("first")

    async def main(database: Database) -> None:
        sink = SyslogSink("syslog+tcp://127.0.0.1:1")
        sending = asyncio.create_task(audit_sinks.sweep(log.ports(database, sink)))
        for number in range(50):
            await write(database, f"r{number}")
        assert not sending.done()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert (await database.audit.head()).seq == 51

    log.run(main)


@every_adapter
def test_one_process_sends_and_another_takes_over(adapter: str, tmp_path: Path) -> None:
    log = AuditedDatabase(adapter, tmp_path)
    log.write(*NAMES[:5])

    async def main(database: Database) -> None:
        audit = database.audit
        assert await audit.is_behind("a sink")
        assert await audit.claim("a sink", "one", 60) == 0
        assert await audit.claim("a sink", "two", 60) is None
        assert await audit.delivered("a sink", "one", 3)
        assert not await audit.delivered("a sink", "two", 5)
        assert await audit.claim("a sink", "one", 60) == 3
        assert await audit.is_behind("a sink")
        assert await audit.claim("another", "two", 60) == 0
        await audit.release("a sink", "two")
        assert await audit.claim("a sink", "two", 60) is None
        await audit.release("a sink", "one")
        assert await audit.claim("a sink", "two", 60) == 3
        assert not await audit.delivered("a sink", "one", 5), "who has slept through it takes nothing back"
        assert await audit.delivered("a sink", "two", 5)
        assert not await audit.is_behind("a sink")

    log.run(main)
    # Its process has died; and the clock was set back by a day since.
    for until in ("1", str(int(time.time()) + 86_400)):
        log.by_hand(f"UPDATE audit_sinks SET until = {until}, holder = 'dead' WHERE name = 'a sink'")

        async def take(database: Database) -> None:
            assert await database.audit.claim("a sink", "three", 60) == 5
            assert await database.audit.claim("a sink", "four", 60) is None

        log.run(take)


def test_two_processes_at_once(tmp_path: Path) -> None:
    log = AuditedDatabase("postgresql", tmp_path)
    log.write(*NAMES[:220])
    with Webhook() as receiver:
        threads = [threading.Thread(target=sent, args=(log, WebhookSink(receiver.url))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert once(receiver.events) == NAMES[:220]


# --- syslog --------------------------------------------------------------------------------------------------------


def test_syslog_over_tcp(tmp_path: Path) -> None:
    log = AuditedDatabase("sqlite", tmp_path)
    log.write(*NAMES)
    receiver = SyslogTcp()
    receiver.cut = 2
    sent(log, SyslogSink(receiver.url))
    receiver.close()
    assert resources(receiver.events) == NAMES
    assert receiver.connections == 5


def test_syslog_over_tcp_to_one_who_does_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection, and is stopped before it has read: nothing of that counts as delivered."""
    monkeypatch.setattr("everloom.evidence.syslog.SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sink = SyslogSink(f"syslog+tcp://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(SinkAway, match="has not taken 1 events in time"):
            asyncio.run(sink.send([an_export()]))


def an_export() -> dict[str, Any]:
    return {"id": "audit_log-1", "type": "project.created", "effective_at": 1_735_689_599, "project.created": {}}


def test_syslog_over_udp(tmp_path: Path) -> None:
    log = AuditedDatabase("sqlite", tmp_path)
    log.write(*NAMES[:20])
    with datagrams() as (url, receiver):
        sent(log, SyslogSink(url))
        assert resources([parsed(receiver.recv(65_536)) for _ in range(20)]) == NAMES[:20]


def test_syslog_at_a_socket_of_this_machine(tmp_path: Path) -> None:
    log = AuditedDatabase("sqlite", tmp_path)
    log.write(*NAMES[:20])
    with datagrams(tmp_path / "log") as (url, receiver):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        reading = threading.Thread(target=lambda: found.extend(parsed(receiver.recv(65_536)) for _ in range(20)))
        found: list[Json] = []
        reading.start()
        sent(log, SyslogSink(url))
        reading.join(20)
        assert resources(found) == NAMES[:20]


def test_syslog_at_a_socket_of_this_machine_that_is_a_stream(tmp_path: Path) -> None:
    found: list[Json] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "log"))
        listener.listen()

        def read() -> None:
            connection, _ = listener.accept()
            with connection:
                found.extend(map(parsed, frames(connection)))

        reading = threading.Thread(target=read)
        reading.start()
        asyncio.run(SyslogSink(f"syslog+unix://{tmp_path / 'log'}").send([an_export(), an_export()]))
        reading.join(20)
    assert found == [an_export()] * 2


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    for url in (f"syslog+unix://{tmp_path / 'none'}", "syslog+tcp://127.0.0.1:1", "syslog+udp://nowhere.invalid"):
        with pytest.raises(SinkAway):
            asyncio.run(SyslogSink(url).send([an_export()]))


# --- settings ------------------------------------------------------------------------------------------------------


def test_the_sink_of_the_settings(tmp_path: Path) -> None:
    assert evidence(Settings(data=tmp_path)).sink is None
    syslog = evidence(Settings(data=tmp_path, audit_sink="syslog+udp://host:99")).sink
    assert isinstance(syslog, SyslogSink)
    hook = evidence(Settings(data=tmp_path, audit_sink="https://a:b@host/path", audit_sink_token="secret")).sink
    assert isinstance(hook, WebhookSink)
    assert hook.name == "https://host/path"
    with pytest.raises(ValueError, match="audit_key: there is no file"):
        evidence(Settings(data=tmp_path, audit_key=tmp_path / "none.pem"))
    assert list(tmp_path.iterdir()) == [], "nothing is made before there is something to sign"
