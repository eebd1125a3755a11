"""What the value of a setting has to be like, where its type does not say it all: each check names the problem."""

import re
from collections.abc import Callable
from typing import Any

from everloom.mail.base import mail_sender, mail_server
from everloom.objects.model_entries import http_problem


def _database_problem(url: str) -> str | None:
    if re.match(r"sqlite:///.+|postgres(ql)?://.+", url):
        return None
    return "expected sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/NAME"


def _blobs_problem(url: str) -> str | None:
    return None if re.match(r"file:///.+|s3://.+", url) else "expected file:///FOLDER or s3://BUCKET/PREFIX"


_PLACE = r"(?:\[[0-9A-Fa-f:.]+\]|[^/\s@?#:\[\]]+)(?::[0-9]{1,5})?"


def _sink_problem(url: str) -> str | None:
    if re.fullmatch(rf"syslog\+(?:udp|tcp)://{_PLACE}|syslog\+unix:///[^?#]+", url) or not http_problem(url):
        return None
    return "expected syslog+udp://HOST:PORT, syslog+tcp://HOST:PORT, syslog+unix:///PATH, or an http(s):// URL"


def _key_problem(key: str) -> str | None:
    return None if re.fullmatch(r"[!-~]+", key) else "a key is made of visible ASCII characters, without spaces"


def _between(least: float, most: float) -> Callable[[float], str | None]:
    return lambda number: (
        None if least <= number <= most else f"must lie between {least:g} and {most:g}, not {number:g}"
    )


def _reading(read: Callable[[str], object]) -> Callable[[str], str | None]:
    """A check by what reads the text: its ``ValueError`` says what is wrong."""

    def problem(text: str) -> str | None:
        try:
            read(text)
        except ValueError as error:
            return str(error)
        return None

    return problem


CHECKS: dict[str, Callable[[Any], str | None]] = {
    "database": _database_problem,
    "blobs": _blobs_problem,
    "api_key": _key_problem,
    "admin_key": _key_problem,
    "upstream": http_problem,
    "public_url": http_problem,
    "smtp_url": _reading(mail_server),
    "mail_from": _reading(mail_sender),
    "upstream_key": _key_problem,
    "upstream_timeout": _between(1, 86_400),
    "batch_concurrency": _between(1, 1024),
    "local_slots": _between(1, 64),
    "local_context": _between(256, 1_048_576),
    "finetune_context": _between(64, 1_048_576),
    "finetune_memory": _between(0, 2**50),
    "local_threads": _between(0, 1_024),
    "local_memory": _between(0, 2**50),
    "local_idle": _between(0, 31_536_000),
    "audit_sink": _sink_problem,
    "audit_sink_token": _key_problem,
    "hub": http_problem,
    "hub_key": _key_problem,
    "port": _between(0, 65_535),
    "processes": _between(1, 256),
    "run_expires": _between(1, 31_536_000),
    "compact_events_after": _between(0, 31_536_000),
    "max_body_bytes": _between(1_024, 2**40),
    "max_file_bytes": _between(1_024, 2**40),
    "max_connections_per_address": _between(0, 2**30),
    "head_timeout": _between(1, 86_400),
    "idle_timeout": _between(1, 86_400),
    "least_rate": _between(1, 2**30),
}
