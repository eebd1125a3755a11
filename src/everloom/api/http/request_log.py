"""A line of the log for each request: what was asked by whom, what came of it, and how long that took."""

import logging
from typing import Any

from everloom.api.http.routes import Request
from everloom.context.current_request import asked

log = logging.getLogger("everloom.requests")

_LONGEST_PATH = 200
_LONGEST_ERROR = 500
_MOST_MODELS = 8
"""Models that one line names: a request may have moderated, searched and chatted."""

_PROBES = frozenset({"healthz", "readyz", "metrics"})
"""Paths that somebody asks every few seconds: shown at ``debug`` only."""

_PAGES = "/console/"
"""So are the console's files, of which a browser asks some thirty to draw a page."""


def log_request(request: Request, seconds: float) -> None:
    """Log a request that has ended. Never its body, nor what stands behind the question mark."""
    level = _level(request)
    if log.isEnabledFor(level):
        told = f"{request.method} {request.path[:_LONGEST_PATH]}"
        # Not by ``log.log``, which looks for the line of code that it is called from: a third of what a line costs.
        log.handle(log.makeRecord(log.name, level, "", 0, told, (), None, extra=_fields(request, seconds)))


def _level(request: Request) -> int:
    if request.path.rpartition("/")[2] in _PROBES or request.path.startswith(_PAGES):
        return logging.DEBUG
    return logging.WARNING if request.status >= 500 or (request.error and request.error.status >= 500) else logging.INFO


def _fields(request: Request, seconds: float) -> dict[str, Any]:
    fields: dict[str, Any] = {"status": request.status, "ms": round(seconds * 1000, 1), "request_id": request.id}
    if (caller := request.caller) is not None:
        fields |= {"project_id": caller.project, "key_id": caller.key_id}
    fields |= {name: request.arguments[name] for name in ("thread_id", "run_id") if name in request.arguments}
    if answered := asked.get():
        fields["model"] = ", ".join(_called(name, record.model) for name, record in answered[:_MOST_MODELS])
        used = [record.usage for _, record in answered if record.usage is not None]
        fields["tokens_read"] = sum(usage.prompt_tokens for usage in used)
        fields["tokens_written"] = sum(usage.completion_tokens for usage in used)
    if (error := request.error) is not None:
        fields["error"] = f"{error.code or error.type}: {error.message}"[:_LONGEST_ERROR]
    return fields


def _called(name: str, model: str) -> str:
    """A model by the name that the caller has for it, and by its own."""
    return name if name == model else f"{name} -> {model}"
