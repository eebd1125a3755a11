"""``/console/``: the pages in the browser, which are the files of the folder ``everloom/console``, without a key.

They hold no secret: what they show they ask of the API, by the key that somebody puts into them. The files are read
once, when the server is built, and each has a route of its own: nothing that a client sends becomes a path on the disk.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from everloom.api.http.routes import Download, Request, Route, Routes

FOLDER = Path(__file__).parents[1] / "console"
CONSOLE = "/console/"

_INDEX = "index.html"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""What is served, by the ends of names; any other file in the folder is not."""

_POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob: data:"),
        *("connect-src 'self'", "font-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
    )
)
"""What a page may load and do, whatever texts of strangers it shows: nothing comes from elsewhere or goes there."""

_HEADERS = {
    "cache-control": "no-cache",  # A browser asks whether what it has is still right: a new version shows at once.
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
}

_Handler = Callable[[Request], Awaitable[Download]]


def console_routes(folder: Path = FOLDER) -> tuple[Route, ...]:
    """A route for each file of the console, and those that lead there; none where the folder has no console."""
    if not (folder / _INDEX).is_file():
        return ()
    handlers: dict[str, _Handler] = {"/": _lead_to_console}
    for file in _files(folder):
        handlers[CONSOLE + file.relative_to(folder).as_posix()] = _serving(file)
    handlers[CONSOLE] = _at_folder(_serving(folder / _INDEX))
    routes = Routes(access="open")
    for path, handler in handlers.items():
        routes.get(path)(handler)
        routes.head(path)(handler)
    return tuple(routes)


def _files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        if file.suffix in _TYPES and file.is_file() and not file.is_symlink():
            yield file


def _serving(file: Path) -> _Handler:
    content = file.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = _HEADERS | {"etag": tag}
    described = {"content-type": _TYPES[file.suffix], "content-length": str(len(content))}

    async def get_console(request: Request) -> Download:
        if _has(request.header(b"if-none-match"), tag):
            return Download(_body(b""), headers, 304)
        return Download(_body(content), headers | described)

    return get_console


def _at_folder(serving: _Handler) -> _Handler:
    """The page, where its address ends as a folder's does: what it names stands beside it."""

    async def get_console(request: Request) -> Download:
        return await (serving(request) if request.path.endswith("/") else _lead_to_console(request))

    return get_console


async def _lead_to_console(request: Request) -> Download:
    """To the console, which from ``/`` and from ``/console`` has one address; so it has behind a proxy's path."""
    return Download(_body(b""), {"location": "console/", "content-length": "0"}, 307)


def _has(asked: str | None, tag: str) -> bool:
    """Whether what a client has by its ``If-None-Match`` is this (RFC 9110, 13.1.2)."""
    tags = [given.strip().removeprefix("W/") for given in (asked or "").split(",")]
    return tag in tags or tags == ["*"]


async def _body(content: bytes) -> AsyncIterator[bytes]:
    yield content
