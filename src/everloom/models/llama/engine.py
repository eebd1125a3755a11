"""One local model in its child process: started at need, asked over loopback HTTP, started again when it died.

Why a child and why HTTP: ``docs/decisions/local-engine.md``.
"""

import asyncio
import os
import re
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from everloom.kit.errors import NO_JSON, ApiError, BadRequest, ModelAway, ModelFailure
from everloom.kit.sse import DONE, DataLines
from everloom.models.embedding import text_too_long
from everloom.models.files.gguf import check_whole
from everloom.models.llama.turns import AdapterTurns
from everloom.models.subprocesses.process import ChildLost, ChildProcess, ChildSilent
from everloom.objects.base import JsonObject, encode

_LOAD_S = 300.0
_FRAME_BYTES = 1 << 16
_ANSWER_BYTES = 1 << 26
"""The longest answer that is read whole: sixteen vectors, a rendered prompt, the tokens of one."""

_URL = re.compile(r"http://127\.0\.0\.1:\d{1,5}")
STALL_S = 600.0
"""Silence on all requests together, after which the engine counts as stuck: no prompt takes as long to read."""
_MARKED_CALL = re.compile(r'<tool_call>(?:\\n|\s)*\{\\?"name\\?"')
"""A call as templates write it: the line's end and the quotation marks may be escaped in a string of theirs."""
_TOO_LARGE = re.compile(r"input \((\d+) tokens\) is too large")


class _Ready(Struct):
    """What the child says first, as its module describes."""

    url: str = ""
    error: str = ""


class _Props(Struct):
    """llama.cpp's ``/props``, as far as it is of use."""

    eos_token: str
    chat_template_caps: dict[str, Any] = {}
    chat_template: str | None = None


class _Tokens(Struct):
    tokens: list[int]


class _Card(Struct):
    meta: dict[str, Any] | None = None


class _Cards(Struct):
    data: list[_Card]


class _Fault(Struct):
    """An error as llama.cpp tells it."""

    code: int | None = None
    message: str | None = None
    type: str | None = None
    n_ctx: int = 0
    n_prompt_tokens: int = 0


class _Refused(Struct):
    error: _Fault


class Facts(Struct, frozen=True):
    """What a loaded model says of itself."""

    url: str
    knows_tools: bool
    """Its chat template has a place for tools."""
    end_token: int
    """The id of the token that ends an answer."""
    marks_calls: bool = False
    """Its chat template writes calls as JSON between ``<tool_call>`` and ``</tool_call>``."""
    vocabulary: int | None = None
    """How many tokens it has, where the engine says so."""


class LlamaEngine:
    """``slots`` requests run at once, each with ``context`` tokens for prompt and answer; more wait their turn.

    ``threads`` generate (default: half the processors, at least one; all of them read prompts). ``embeds``: the model
    makes vectors, ``context`` tokens at most for each, and writes nothing. ``stall``: seconds without a sign of life
    on any request, after which the engine is ended; the next request starts it again. ``adapters``: LoRA files that it
    loads beside the model; a request has none of them on, or one.
    """

    def __init__(
        self,
        path: Path,
        *,
        slots: int,
        context: int,
        threads: int | None = None,
        embeds: bool = False,
        stall: float = STALL_S,
        adapters: Sequence[Path] = (),
    ) -> None:
        self.context = context
        self._adapters = tuple(adapters)
        self.embeds = embeds
        self._path = path
        self._slots = slots
        self._threads = threads or max(1, (os.cpu_count() or 1) // 2)
        # Twice as many as it works on, so that the engine goes on with the next one in the very step in which a slot
        # falls free; the rest waits here, where a client that leaves costs nothing.
        self._turns = AdapterTurns(2 * slots)
        self._starting = asyncio.Lock()
        self._child: ChildProcess[_Ready] = ChildProcess(
            (sys.executable, "-m", "everloom.models.llama.child"),
            msgspec.json.Decoder(_Ready).decode,
            load_s=_LOAD_S,
            longest=_FRAME_BYTES,
        )
        self._facts: Facts | None = None
        self._session: aiohttp.ClientSession | None = None
        self._stall = stall
        self._heard = 0.0
        """When the engine last said something on any request, by the monotonic clock."""

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return self._child.pid

    async def ready(self) -> Facts:
        """The model's facts, loading it first if it is not loaded. ``ModelFailure`` when it cannot be."""
        async with self._starting:
            if self._facts is None or self.pid is None:
                await self.close()
                try:
                    self._facts = await self._load()
                except BaseException:
                    await self.close()
                    raise
            return self._facts

    async def close(self) -> None:
        """End the child, and with it every answer under way."""
        self._facts = None
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        await self._child.end()

    async def ask(self, path: str, body: JsonObject) -> Any:
        """One request with a short answer (tokenize, apply-template); needs no slot.

        What writes is asked for by ``try_out`` and ``generate``.
        """
        response = await self._post(path, body)
        async with response:
            said = await self._read(response)
        try:
            return msgspec.json.decode(said)
        except NO_JSON as error:
            raise _unreadable() from error

    async def try_out(self, body: JsonObject, adapter: Path | None = None) -> Any:
        """A completion of a few tokens, whole; waits its turn. Errors: as ``generate``."""
        async with self._turns.turn(adapter):
            return await self.ask("/completion", self._naming(body, adapter))

    async def generate(self, path: str, body: JsonObject, adapter: Path | None = None) -> AsyncGenerator[bytes, None]:
        """A streamed answer's events, with one of the adapters on, or none. Waits its turn; leaving the iteration stops
        the model.

        Errors: ``BadRequest`` for what the engine refuses, ``ModelFailure`` for an engine that fails or dies.
        """
        async with self._turns.turn(adapter):
            response = await self._post(path, self._naming(body, adapter))
            try:
                async for payload in self._events(response):
                    yield payload
            finally:
                response.close()  # closing the connection is how llama.cpp is told to stop

    def _naming(self, body: JsonObject, adapter: Path | None) -> JsonObject:
        """The request with every adapter named. One that names none goes on from keys that another adapter made: only
        where the names differ from those of the slot's last request does the engine forget them.
        """
        if not self._adapters:
            return body
        scales = [{"id": place, "scale": float(path == adapter)} for place, path in enumerate(self._adapters)]
        return {**body, "lora": scales}

    async def _events(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        lines = DataLines()
        try:
            while block := await self._block(response):
                for payload in lines.feed(block):
                    if payload == DONE:
                        return
                    if payload.startswith(b'{"error"'):
                        raise self._refusal(response.status, payload)
                    yield payload
        except aiohttp.ClientError as error:
            raise self._died() from error
        except ValueError as error:
            raise _unreadable() from error
        raise self._died()

    async def _block(self, response: aiohttp.ClientResponse) -> bytes:
        """What comes next of an answer."""
        while True:
            try:
                async with asyncio.timeout(self._stall):
                    block = await response.content.readany()
            except TimeoutError:
                await self._end_if_stuck()
            else:
                self._heard = time.monotonic()
                return block

    async def _begun(self, url: str, data: bytes) -> aiohttp.ClientResponse:
        """An answer, once its head is there: a request that waits for a slot has none yet."""
        assert self._session is not None
        posting = asyncio.ensure_future(self._session.post(url, data=data))
        try:
            while not (await asyncio.wait({posting}, timeout=self._stall))[0]:
                await self._end_if_stuck()
            self._heard = time.monotonic()
            return posting.result()
        finally:
            posting.cancel()

    async def _end_if_stuck(self) -> None:
        """End an engine that has been silent on all requests; whoever waits for it is told so."""
        if time.monotonic() - self._heard >= self._stall:
            await self.close()
            raise self._died()

    async def _post(self, path: str, body: JsonObject) -> aiohttp.ClientResponse:
        """The engine's answer begun; once more when the child turned out to be dead before it took the request."""
        for last in (False, True):
            facts = await self.ready()
            try:
                response = await self._begun(facts.url + path, encode(body))
            except aiohttp.ClientError as error:
                refused = isinstance(error, aiohttp.ClientConnectorError)
                if last or not await self._gone(for_sure=refused):
                    raise self._died() from error
            else:
                if response.status != 200:
                    async with response:
                        raise self._refusal(response.status, await self._read(response))
                return response
        raise AssertionError("unreachable")

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return await _bounded(response)
        except aiohttp.ClientError as error:
            raise self._died() from error

    async def _gone(self, *, for_sure: bool) -> bool:
        """Whether the child has ended; its death may take a moment to be known.

        ``for_sure``: nobody listens any more, so a child that still lives is of no use and is ended.
        """
        if not await self._child.gone(1.0) and for_sure:
            await self._child.end(at_once=True)
        return self._child.pid is None

    def _damage(self) -> str | None:
        """What is wrong with the model's file, as far as can be seen: llama.cpp does not say it."""
        try:
            check_whole(self._path)
        except (OSError, ValueError) as error:
            return str(error)
        return None

    async def _load(self) -> Facts:
        key = secrets.token_urlsafe(32)
        config = {"path": str(self._path), "key": key, "slots": self._slots}
        config |= {"context": self.context, "threads": self._threads, "embeds": self.embeds}
        config["adapters"] = [str(path) for path in self._adapters]
        try:
            answer = await self._child.ready(encode(config))
        except ChildSilent:
            raise ModelFailure(f"The model {self._path.name} did not load in {_LOAD_S:.0f} s.", status=503) from None
        except ChildLost:
            answer = _Ready(error="the process that loads it ended")
        if answer.error or not _URL.fullmatch(answer.url):
            reason = await asyncio.to_thread(self._damage) or answer.error or "its process does not say where it is"
            raise ModelFailure(f"The model {self._path.name} cannot be loaded: {reason}", status=503)
        self._session = aiohttp.ClientSession(
            # A kept connection may be closed by llama.cpp just as we write on it; a new one costs 0.2 ms.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
        )
        try:
            return await _learn(self._session, answer.url)
        except (aiohttp.ClientError, ModelFailure, IndexError, *NO_JSON) as error:
            raise ModelFailure(
                f"The model {self._path.name} loaded and does not answer: {error!r}", status=503
            ) from error

    def _died(self) -> ModelAway:
        text = "The local model's process ended in the middle of this request. It is being started again."
        return ModelAway(text, reached=True)

    def _refusal(self, status: int, body: bytes) -> ApiError:
        try:
            error = _refused.decode(body).error
        except NO_JSON:
            return ModelFailure(f"The local model's process answered {status}.")
        if error.type == "exceed_context_size_error":
            if self.embeds:
                return text_too_long(error.n_ctx, error.n_prompt_tokens)
            return context_exceeded(error.n_ctx, error.n_prompt_tokens)
        if error.code == 400:
            return BadRequest(f"The local model refused the request: {error.message}")
        if self.embeds and (found := _TOO_LARGE.search(error.message or "")):
            return text_too_long(self.context, int(found[1]))
        return ModelFailure(f"The local model failed: {error.message}", status=500)


_refused = msgspec.json.Decoder(_Refused)


async def _learn(session: aiohttp.ClientSession, url: str) -> Facts:
    """What the engine says of its model."""
    async with session.get(url + "/props") as response:
        props = msgspec.json.decode(await _bounded(response), type=_Props)
    end = encode({"content": props.eos_token, "parse_special": True, "add_special": False})
    async with session.post(url + "/tokenize", data=end) as response:
        tokens = msgspec.json.decode(await _bounded(response), type=_Tokens).tokens
    async with session.get(url + "/v1/models") as response:
        meta = msgspec.json.decode(await _bounded(response), type=_Cards).data[0].meta or {}
    return Facts(
        url=url,
        knows_tools=props.chat_template_caps.get("supports_tools", False),
        end_token=tokens[-1],
        marks_calls=_MARKED_CALL.search(props.chat_template or "") is not None,
        vocabulary=meta.get("n_vocab"),
    )


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """A whole answer. ``ModelFailure`` for one that has no end."""
    body = bytearray()
    async for block in response.content.iter_any():
        body += block
        if len(body) > _ANSWER_BYTES:
            raise _unreadable()
    return bytes(body)


def _unreadable() -> ModelFailure:
    return ModelFailure("The local model's process said something unreadable.")


def context_exceeded(window: int, tokens: int) -> BadRequest:
    """The platform's refusal of a prompt that is too long."""
    return BadRequest(
        f"This model's maximum context length is {window} tokens. However, your messages resulted in {tokens} tokens. "
        "Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )
