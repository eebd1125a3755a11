"""Who of the workers on one database is alive, and what becomes of the jobs of those that are not."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from everloom.jobs.dbos_engine import Engine
from everloom.kit import log

if TYPE_CHECKING:
    import sqlalchemy as sa

_log = logging.getLogger(__name__)

_BEAT = 1.0
"""Seconds between two signs of life, and between two looks for dead workers."""
_PURGE = 60.0
"""Seconds between two rounds of forgetting ended jobs."""
_LOCK = 0x657665726C6F6F6D
"""PostgreSQL advisory lock: one janitor at a time."""
_TABLE = "dbos.everloom_workers"


class Presence:
    """The table in which every worker says, once a second, that it is alive."""

    def __init__(self, database: "sa.Engine", executor: str, stale: float) -> None:
        """``stale``: seconds without a sign of life after which a worker counts as dead."""
        self._database = database
        self.executor = executor
        self._stale = stale

    def begin(self) -> None:
        """Make the table where it is missing, and give the first sign of life."""
        from sqlalchemy import text

        with self._database.begin() as connection:
            # Two that make a table at once collide even with IF NOT EXISTS.
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK + 1})
            connection.execute(
                text(f"CREATE TABLE IF NOT EXISTS {_TABLE} (executor text PRIMARY KEY, seen timestamptz NOT NULL)")
            )
        self._join()

    def beat(self) -> bool:
        """Give a sign of life; False if this worker had been declared dead meanwhile."""
        from sqlalchemy import text

        statement = text(f"UPDATE {_TABLE} SET seen = clock_timestamp() WHERE executor = :executor")
        with self._database.begin() as connection:
            alive = connection.execute(statement, {"executor": self.executor}).rowcount > 0
        if not alive:
            self._join()
        return alive

    def end(self) -> None:
        """Leave the table."""
        from sqlalchemy import text

        with self._database.begin() as connection:
            connection.execute(text(f"DELETE FROM {_TABLE} WHERE executor = :executor"), {"executor": self.executor})

    def bury(self, connection: "sa.Connection") -> list[str]:
        """Strike the dead off the table; who they were."""
        from sqlalchemy import text

        statement = text(
            f"DELETE FROM {_TABLE} WHERE executor <> :executor"
            " AND seen < clock_timestamp() - make_interval(secs => :stale) RETURNING executor"
        )
        rows = connection.execute(statement, {"executor": self.executor, "stale": self._stale})
        return [row.executor for row in rows]

    def known(self, connection: "sa.Connection") -> set[str]:
        """All that stand in the table."""
        from sqlalchemy import text

        return {row.executor for row in connection.execute(text(f"SELECT executor FROM {_TABLE}"))}

    def alive(self, connection: "sa.Connection") -> int:
        """How many have given a sign of life lately; none where no worker was ever there."""
        from sqlalchemy import text

        if connection.execute(text("SELECT to_regclass(:table)"), {"table": _TABLE}).scalar() is None:
            return 0
        statement = text(
            f"SELECT count(*) FROM {_TABLE} WHERE seen >= clock_timestamp() - make_interval(secs => :stale)"
        )
        return int(connection.execute(statement, {"stale": self._stale}).scalar_one())

    def _join(self) -> None:
        from sqlalchemy import text

        statement = text(
            f"INSERT INTO {_TABLE} (executor, seen) VALUES (:executor, clock_timestamp())"
            " ON CONFLICT (executor) DO UPDATE SET seen = excluded.seen"
        )
        with self._database.begin() as connection:
            connection.execute(statement, {"executor": self.executor})


class Janitor:
    """A worker's two threads: one gives signs of life, one takes over from the dead and forgets what has ended.

    They are two because taking over waits for the database as long as it must, and no sign of life may.
    """

    def __init__(
        self,
        engine: Engine,
        presence: Presence,
        *,
        stale: float,
        keep: float,
        in_hand: Callable[[], set[str]],
        lost: Callable[[], None],
    ) -> None:
        """``keep``: seconds for which ended jobs are remembered; ``in_hand``: the ids of jobs that are executed here,
        a new set; ``lost``: called when others took our jobs over.
        """
        self._engine = engine
        self._presence = presence
        self._stale = stale
        self._keep = keep
        self._in_hand = in_hand
        self._lost = lost
        self._stop = threading.Event()
        self._sound_since = float("-inf")
        self._suspects: dict[str, float] = {}
        self._threads = [
            threading.Thread(target=self._clean, name="everloom-janitor", daemon=True),
            threading.Thread(target=self._beat, name="everloom-presence", daemon=True),
        ]

    def start(self) -> None:
        """Join the workers, then go on in the background. Blocks on the database."""
        self._presence.begin()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads; blocks until they have ended."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident:
                thread.join()

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(_BEAT):
            try:
                alive = self._presence.beat()
            except Exception as problem:
                log.outage("this worker's sign of life", problem)
                continue
            if time.monotonic() - last > self._stale:
                # After a pause or an outage the others get their time to say that they are alive, too.
                self._sound_since = time.monotonic()
            last = time.monotonic()
            if not alive:
                _log.warning("this worker was taken for dead; its jobs have gone to others")
                self._lost()

    def _clean(self) -> None:
        purged = time.monotonic()
        while not self._stop.wait(_BEAT):
            try:
                if time.monotonic() - self._sound_since > self._stale:
                    self._take_over()
                if time.monotonic() - purged > _PURGE:
                    purged = time.monotonic()
                    self._purge()
            except Exception as problem:
                log.outage("the janitor's round", problem)

    def _take_over(self) -> None:
        from sqlalchemy import text

        with self._engine.database.begin() as connection:
            if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}).scalar():
                return
            dead = self._presence.bury(connection)
            jobs = [job for job, _ in self._engine.pending(dead)] if dead else self._strays(connection)
            if jobs:
                _log.info("taking over %d jobs", len(jobs))
                self._engine.requeue(jobs)

    def _strays(self, connection: "sa.Connection") -> list[str]:
        """Jobs of workers that never got into the table, or died while they were thought dead; and our own that are
        not in hand, since what became of them could not be recorded while the database was away.

        Only what is found in every round for as long as a worker may be silent: one begins its first jobs as it joins,
        and a job has been claimed a while before it is in hand where a thousand come at once or the processor is busy.
        Who is too quick here ends a job in the middle, to begin it anew.
        """
        known = self._presence.known(connection)
        own, now, in_hand = self._presence.executor, time.monotonic(), self._in_hand()
        pending = self._engine.pending()
        in_hand |= self._in_hand()  # What has come to hand while we asked, and what has left.
        strays = [job for job, owner in pending if owner not in known or (owner == own and job not in in_hand)]
        self._suspects = {job: self._suspects.get(job, now) for job in strays}
        return sorted(job for job, since in self._suspects.items() if now - since >= self._stale)

    def _purge(self) -> None:
        batch = 500
        while self._engine.purge(self._keep, batch) == batch and not self._stop.is_set():
            pass
