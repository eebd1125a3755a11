"""The schema's history (Alembic), read as SQL text.

The adapters run that text over their own connection, inside the lock under which they looked at the
revision: so no second driver is needed, and a migration happens once however many processes start
together. A migration is therefore plain DDL and SQL; it cannot read rows into Python. Only postings are made by
the adapters, piece by piece in the same transaction (``store/postings.py``).

What an empty database gets lies here as it came out (``empty.*.sql``; ``python -m everloom.store.migrations`` writes it
anew, and a test compares). So a start imports Alembic and SQLAlchemy, which take 40 MB and half a second, only where a
database in use is brought up to date.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent
"""A package installed by pip lies in a folder, which is what Alembic asks for."""

NEWEST = "0016"
"""The revision this program works with; the files in ``versions`` begin with their number."""

_POSTED_SINCE = "0015"
"""From this revision on all objects are posted by all of their terms. Where a kind gets others it is raised, and a
database of before is posted once more: what stands already is left.
"""

READ = "SELECT version_num FROM alembic_version"
"""Asks a database for its revision, where ``alembic_version`` exists."""


class TooNew(Exception):
    """The database was brought up to date by a later Everloom than this one: start that one."""


class TooOld(Exception):
    """The database is to be read only, and was not brought up to date: start this Everloom on it, or ``migrate``."""


def check(revision: str | None) -> None:
    """Ask that a database can be read as it is. Errors: ``TooNew``, ``TooOld``."""
    if revision is not None and revision > NEWEST:
        raise TooNew(_too_new(revision))
    if revision != NEWEST:
        raise TooOld(f"The database is at schema {revision or 'none'}, and this Everloom reads {NEWEST}.")


def _too_new(revision: str) -> str:
    return f"The database is at schema {revision}, and this Everloom knows {NEWEST} and older."


def is_to_be_posted(revision: str | None) -> bool:
    """Whether a database of this revision may hold objects that no postings lead to."""
    return revision is not None and revision < _POSTED_SINCE


def statements(dialect: str, revision: str | None) -> list[str]:
    """What brings a database from ``revision`` (None: empty) to ``NEWEST``; ``TooNew`` if it is beyond it."""
    if revision is None:
        return kept(dialect).read_text("utf-8").rstrip("\n").split(_BETWEEN)
    if revision > NEWEST:
        raise TooNew(_too_new(revision))
    return history(dialect, revision)


_BETWEEN = "\n\n"


def kept(dialect: str) -> Path:
    """The file with what an empty database gets."""
    return _FOLDER / f"empty.{dialect}.sql"


def keep(dialect: str) -> str:
    """The text of that file, as the history makes it."""
    return _BETWEEN.join(history(dialect, None)) + "\n"


def history(dialect: str, revision: str | None) -> list[str]:
    """The statements of all migrations behind ``revision`` (None: of all there are)."""
    from alembic import command
    from alembic.config import Config

    collected = _Statements()
    config = Config(attributes={"dialect": dialect, "output": collected})
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    command.upgrade(config, f"{revision or 'base'}:{NEWEST}", sql=True)
    return collected.texts


class _Statements:
    """The output that Alembic writes its SQL to, one statement a call."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, text: str) -> None:
        text = text.strip()
        if text and not text.startswith("--"):
            self.texts.append("\n".join(line.rstrip() for line in text.splitlines()))

    def flush(self) -> None:
        """Nothing waits."""
