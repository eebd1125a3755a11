"""A scripted inference server that speaks the real protocol over real HTTP.

The world outside Everloom, faked; nothing of ours is. Used inside a test::

    with ScriptedUpstream() as upstream:
        upstream.script(Calls(("weather", {"city": "Oslo"})), Says("It rains."))
        ...  # point Everloom at upstream.url
        assert upstream.requests[0].body["model"] == "gpt-4o"

or as a process of its own: ``python -m tests.scripted PORT``. It answers from its script first, then from
its ``rule``, else from the request alone, so that the same request made again (after a crash, say)
gets the same answer down to the ids. Tokens are words: what white space separates.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.multipart import BodyPartReader

from tests import meanings
from tests.replies import Answer, Breaks, Calls, Fails, Garbage, Hangs, Json, Reply, Says, Slow, answer_to
from tests.training.fine_tuning_server import FineTuningServer

__all__ = [
    "Breaks",
    "Calls",
    "Fails",
    "FormPart",
    "Garbage",
    "Hangs",
    "Reply",
    "Request",
    "Says",
    "ScriptedUpstream",
    "Slow",
]


@dataclass(frozen=True)
class FormPart:
    """A part of a form as it arrived; ``filename`` is None for a field of text."""

    name: str
    filename: str | None
    content_type: str | None
    content: bytes


@dataclass(frozen=True)
class Request:
    """What the server was asked: the JSON body and its very bytes, or a form's parts; headers have lower-case names."""

    method: str
    path: str
    body: Json
    raw: bytes
    headers: dict[str, str]
    form: tuple[FormPart, ...] = field(default=())

    def field(self, name: str) -> str | None:
        """The first text of a form under this name."""
        return next((part.content.decode() for part in self.form if part.name == name and part.filename is None), None)


Endpoint = Callable[[Request], web.StreamResponse]
"""Answers what this server knows nothing of itself: ``web.json_response({...})``, ``web.Response(body=b"...")``."""


_ACCEPTING = 3
"""Turns of the loop, and one more, until a socket that was accepted is a connection that is closed with the others."""


class ScriptedUpstream:
    """The server, in a thread with an event loop of its own. ``url`` ends in ``/v1``.

    ``requests`` are the chat requests in the order they came, ``disconnects`` those of them whose client
    went away before the answer's end, ``active`` how many answers are under way, and ``most_active`` how many
    were at a time. ``embeddings`` are the requests for vectors, each answered after ``embedding_delay`` seconds,
    or refused with ``embedding_fails``.
    With ``api_key`` every other key is refused. What ``serve`` names is answered by a function, and ``others`` are
    the requests to such paths; every other path answers 404 without a body of the platform's. Fine-tuning jobs are done
    when they are made, whatever their model (``tests/training/fine_tuning_server.py``); ``reset`` lets them be.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        api_key: str | None = None,
        models: Sequence[str] = ("gpt-4o", "gpt-4-turbo", "scripted"),
    ) -> None:
        self.requests: list[Request] = []
        self.disconnects: list[Request] = []
        self.model_lists = 0
        self.active = self.most_active = 0
        self.embeddings: list[Request] = []
        self.embedding_delay = 0.0
        self.embedding_fails: Fails | None = None
        self.others: list[Request] = []
        self._endpoints: dict[str, Endpoint] = {}
        self._models = tuple(models)
        self._api_key = api_key
        self._port = port
        self._script: deque[Reply] = deque()
        self._rule: Callable[[Json], Reply | None] | None = None
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._embedding = asyncio.Event()
        self._embedding.set()
        self._thread = threading.Thread(target=self._run, name="scripted-upstream", daemon=True)
        self._failure: BaseException | None = None

    @property
    def url(self) -> str:
        """The base URL to give to a client."""
        return f"http://127.0.0.1:{self._port}/v1"

    def script(self, *replies: Reply) -> None:
        """Answer the next requests with these, in this order, before anything else."""
        self._script.extend(replies)

    def rule(self, rule: Callable[[Json], Reply | None]) -> None:
        """Answer from the request's body when the script is used up; None leaves it to the default."""
        self._rule = rule

    def serve(self, path: str, endpoint: Endpoint) -> None:
        """Answer POST requests to ``path`` (``/moderations``) until the next ``reset``."""
        self._endpoints[path] = endpoint

    def reset(self) -> None:
        """Forget script, rule and what was recorded: the next test begins here."""
        self._script.clear()
        self._rule = None
        self.most_active = 0
        self.requests.clear()
        self.disconnects.clear()
        self.embeddings.clear()
        self.others.clear()
        self._endpoints.clear()
        self.embedding_delay = 0.0
        self.embedding_fails = None

    @contextlib.contextmanager
    def holding_embeddings(self) -> Iterator[None]:
        """Answer no request for vectors meanwhile; those that came are answered behind it."""
        self._embedding.clear()
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._embedding.set)

    def wait(self, true: Callable[[], bool], timeout: float = 60.0) -> bool:
        """Whether ``true()`` came about within ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while not true():
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def __enter__(self) -> "ScriptedUpstream":
        self._thread.start()
        self._ready.wait(10)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, with the answers under way; a second time does nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            self._ready.set()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=256 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_get("/v1/models", self._list_models)
        FineTuningServer(at_once=True).add_to(app)
        app.router.add_post("/v1/{rest:.+}", self._other)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            listening = socket.create_server(("127.0.0.1", self._port))
            await web.SockSite(runner, listening).start()
            self._port = runner.addresses[0][1]
            self._ready.set()
            await self._stop.wait()
            # What is accepted has to become a connection first: of one that does not, asyncio closes nothing.
            asyncio.get_running_loop().remove_reader(listening)
            for _ in range(_ACCEPTING):
                await asyncio.sleep(0)
        finally:
            await runner.cleanup()

    async def _list_models(self, request: web.Request) -> web.StreamResponse:
        self.model_lists += 1
        if refusal := self._refusal(request):
            return refusal
        rows = [{"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "scripted"} for id in self._models]
        return _json({"object": "list", "data": rows})

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        raw = await request.read()
        body = json.loads(raw)
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.embeddings.append(Request(request.method, request.path, body, raw, headers))
        await self._embedding.wait()
        await asyncio.sleep(self.embedding_delay)
        if self.embedding_fails is not None:
            return _failure(self.embedding_fails)
        return _json(meanings.answer(body))

    async def _other(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        headers = {name.lower(): value for name, value in request.headers.items()}
        if request.content_type == "multipart/form-data":
            asked = Request(request.method, request.path, {}, b"", headers, await _form(request))
        else:
            raw = await request.read()
            asked = Request(request.method, request.path, json.loads(raw or b"{}"), raw, headers)
        self.others.append(asked)
        endpoint = self._endpoints.get(request.path.removeprefix("/v1"))
        return web.Response(status=404, text="<html>Not Found</html>") if endpoint is None else endpoint(asked)

    def _refusal(self, request: web.Request) -> web.Response | None:
        if self._api_key is None or request.headers.get("authorization") == f"Bearer {self._api_key}":
            return None
        return _failure(Fails(401, _error("Incorrect API key provided: sk-***.", code="invalid_api_key")))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        if refusal := self._refusal(request):
            return refusal
        try:
            body = json.loads(raw)
        except ValueError:
            return _failure(Fails(400, _error("We could not parse the JSON body of your request.")))
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Request(request.method, request.path, body, raw, headers)
        self.requests.append(asked)
        reply = self._choose(body)
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            return await _answer(request, body, raw, reply)
        except asyncio.CancelledError:
            self.disconnects.append(asked)
            raise
        except ConnectionResetError:
            self.disconnects.append(asked)
            return web.Response()
        finally:
            self.active -= 1

    def _choose(self, body: Json) -> Reply:
        if self._script:
            return self._script.popleft()
        return (self._rule and self._rule(body)) or answer_to(body)


async def _form(request: web.Request) -> tuple[FormPart, ...]:
    parts = []
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        content = bytes(await part.read())
        parts.append(FormPart(part.name or "", part.filename, part.headers.get("content-type"), content))
    return tuple(parts)


async def _answer(request: web.Request, body: Json, raw: bytes, reply: Reply) -> web.StreamResponse:
    if isinstance(reply, Fails):
        return _failure(reply)
    if isinstance(reply, Hangs) and reply.after_chunks == 0:
        await asyncio.sleep(3600)
    if isinstance(reply, Breaks) and reply.after_chunks == 0:
        await asyncio.sleep(reply.seconds)
        return _cut(request)
    delay = reply.delay if isinstance(reply, Slow) else 0.0
    said = reply if isinstance(reply, Says | Calls) else reply.reply
    answer = Answer(body, raw, said)
    if not body.get("stream"):
        await asyncio.sleep(delay)
        return await _whole(request, answer, reply)
    return await _stream(request, answer, reply, delay)


async def _whole(request: web.Request, answer: Answer, reply: Reply) -> web.StreamResponse:
    data = json.dumps(answer.completion(), indent=2, ensure_ascii=False).encode()
    if isinstance(reply, Garbage):
        data = data[: len(data) // 2]
    if not isinstance(reply, Hangs | Breaks):
        return web.Response(body=data, headers={**_HEADERS, "content-type": "application/json"})
    response = web.StreamResponse(headers={**_HEADERS, "content-type": "application/json"})
    response.content_length = len(data)
    await response.prepare(request)
    await response.write(data[: len(data) // 2])
    if isinstance(reply, Hangs):
        await asyncio.sleep(3600)
    return _cut(request)


async def _stream(request: web.Request, answer: Answer, reply: Reply, delay: float) -> web.StreamResponse:
    response = web.StreamResponse(headers={**_HEADERS, "content-type": "text/event-stream"})
    await response.prepare(request)
    stop = reply.after_chunks if isinstance(reply, Hangs | Breaks | Garbage) else None
    burst, pending = answer.burst, b""
    for number, chunk in enumerate(answer.chunks()):
        if number == stop and isinstance(reply, Hangs):
            await asyncio.sleep(3600)
        if number == stop and isinstance(reply, Breaks):
            await asyncio.sleep(0.1)  # What was sent is read by then: a reset takes away what was not.
            return _cut(request)
        data = b'{"id":"chatcmpl-' if number == stop else chunk
        pending += b"data: " + data + b"\n\n"
        if delay:
            await asyncio.sleep(delay)
        if number % burst == burst - 1:
            await response.write(pending)
            pending = b""
    await response.write(pending + b"data: [DONE]\n\n")
    await response.write_eof()
    return response


_HEADERS = {
    "openai-version": "2020-10-01",
    "openai-organization": "scripted",
    "openai-processing-ms": "1",
    "cache-control": "no-cache, must-revalidate",
    "access-control-allow-origin": "*",
}


def _json(value: Json, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(value, status=status, headers={**_HEADERS, **(headers or {})})


def _error(message: str, *, type: str = "invalid_request_error", code: str | None = None) -> Json:
    return {"error": {"message": message, "type": type, "param": None, "code": code}}


def _failure(fails: Fails) -> web.Response:
    headers = {} if fails.retry_after is None else {"retry-after": f"{fails.retry_after:g}"}
    if isinstance(fails.body, str):
        return web.Response(text=fails.body, status=fails.status, headers={**_HEADERS, **headers})
    text = {429: "Rate limit reached for scripted requests.", 400: "The scripted request is at fault."}
    kind = {429: "requests", 400: "invalid_request_error"}.get(fails.status, "server_error")
    code = "rate_limit_exceeded" if fails.status == 429 else None
    default = _error(text.get(fails.status, "The server had an error processing your request."), type=kind, code=code)
    return _json(default if fails.body is None else fails.body, fails.status, headers)


def _cut(request: web.Request) -> web.StreamResponse:
    """Cut the connection under the answer, as a crashed server does."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def main() -> None:
    """Serve until the process is ended. Every answer has ``--words`` words, when that is given."""
    parser = argparse.ArgumentParser(prog="python -m tests.scripted")
    parser.add_argument("port", type=int)
    parser.add_argument("--words", type=int, default=0, help="answer every request with so many words")
    parser.add_argument("--burst", type=int, default=1, help="chunks in one write")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before every chunk")
    options = parser.parse_args()
    reply: Says | None = None
    if options.words:
        reply = Says(" ".join(["word"] * options.words), burst=options.burst)
    with ScriptedUpstream(options.port) as upstream:
        if reply is not None:
            answer = Slow(options.delay, reply) if options.delay else reply
            upstream.rule(lambda body: answer)
        print(f"scripted: ready on {upstream.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
