"""``everloom chat``: a conversation in the terminal, over the public API."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msgspec import Struct, field

from everloom.cli import CommandError
from everloom.cli.chat_view import ChatView
from everloom.cli.client import Client, Json
from everloom.cli.display import harmless
from everloom.cli.own_server import run_to_end
from everloom.cli.run_stream import RunStream
from everloom.work.vector_stores.extraction import can_be_read

HELP = "/file PATH attaches a file to the next question, /quit leaves; Ctrl-C cancels an answer."
PROMPT = "you> "
_LEAVE_SECONDS = 5.0
_AGAIN_SECONDS = 0.2
_UNDER_WAY = ("queued", "in_progress", "requires_action")

Asking = Callable[[], AbstractAsyncContextManager[Client]]


class ChatPlan(Struct):
    """Whom to talk to, and where to go on. ``made`` is an assistant that was made for this conversation alone."""

    assistant: str | None
    model: str | None
    thread: str | None
    tools: list[Json] = field(default_factory=list)
    made: bool = False


class Chat:
    """One conversation. ``asking`` gives a client; there is one for each question, since a server ends connections that
    are idle as long as somebody thinks. ``local``: the model that is asked where a server lists none of others.
    Errors: ``CommandError``.
    """

    def __init__(self, asking: Asking, plan: ChatPlan, local: str) -> None:
        self._asking = asking
        self._plan = plan
        self._local = local
        self._interactive = sys.stdin.isatty()
        self._view = ChatView(chatty=self._interactive)
        self._attachments: list[Json] = []
        self._tools: list[Json] = []
        self._failed = False

    def hold(self) -> int:
        """Talk until the end of what is typed; the exit status: 1 where a question had no whole answer."""
        run_to_end(self._begin())
        try:
            for line in self._lines():
                word, _, rest = line.partition(" ")
                if word == "/quit":
                    break
                if word == "/help":
                    self._view.note(HELP)
                elif word == "/file":
                    self._patiently(self._attach, rest.strip())
                elif line:
                    self._patiently(self._ask, line)
        finally:
            run_to_end(self._end())
        return 1 if self._failed and not self._interactive else 0

    def _patiently(self, what: Callable[[str], None], typed: str) -> None:
        """Somebody at a terminal reads what went wrong, and may try again."""
        try:
            what(typed)
        except CommandError as error:
            self._failed = True
            if not self._interactive:
                raise
            self._view.note(str(error), "red")

    def _lines(self) -> Iterator[str]:
        if not self._interactive:
            sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]  # a pipe is a text stream
            yield from (line.strip() for line in sys.stdin)
            return
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  # lines can be edited, and come back with the arrows
        self._view.note(HELP)
        while (line := _typed(PROMPT)) is not None:
            yield line.strip()

    # --- beginning and end -------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        async with self._asking() as client:
            plan = self._plan
            if plan.thread is not None:
                await client.get(f"/threads/{quote(plan.thread, safe='')}")
            if plan.assistant is not None:
                assistant = await client.get(f"/assistants/{quote(plan.assistant, safe='')}")
                plan.tools = assistant["tools"]
            else:
                model = plan.model or await _some_model(client, self._local)
                assistant = await client.post("/assistants", {"model": model, "name": "everloom chat"})
                plan.assistant, plan.made = assistant["id"], True
            self._view.note(f"{assistant['id']} on {plan.model or assistant['model']}")

    async def _end(self) -> None:
        if self._plan.made:
            with contextlib.suppress(CommandError, TimeoutError):  # Whoever leaves does not wait for a server.
                async with asyncio.timeout(_LEAVE_SECONDS), self._asking() as client:
                    await client.delete(f"/assistants/{self._plan.assistant}")
        if self._plan.thread is not None:
            own = f"--assistant {self._plan.assistant} " if not self._plan.made else ""
            self._view.note(f"To go on: everloom chat {own}--thread {self._plan.thread}")

    def _attach(self, name: str) -> None:
        path = Path(name).expanduser()
        if not path.is_file():
            raise CommandError(f"there is no file {name}")
        try:
            file = run_to_end(self._upload(path))
        except OSError as error:
            raise CommandError(f"{name} cannot be read: {error.strerror or error}") from error
        tool = {"type": "file_search" if can_be_read(path.name) else "code_interpreter"}
        self._attachments.append({"file_id": file["id"], "tools": [tool]})
        if tool not in self._tools:
            self._tools.append(tool)
        self._view.note(f"({path.name} goes with the next question, for {tool['type']})")

    async def _upload(self, path: Path) -> Json:
        async with self._asking() as client:
            return await client.upload("/files", path, purpose="assistants")

    # --- a question --------------------------------------------------------------------------------------------------

    def _ask(self, question: str) -> None:
        """Have a question answered, calls of functions by hand."""
        run = run_to_end(self._run(question))
        while run is not None and run["status"] == "requires_action":
            run = run_to_end(self._follow(run, self._outputs(run)))
        self._failed |= run is None or run["status"] != "completed"

    async def _run(self, question: str) -> Json | None:
        async with self._asking() as client:
            if self._plan.thread is None:
                self._plan.thread = (await client.post("/threads", {}))["id"]
                self._view.note(self._plan.thread)
            message: Json = {"role": "user", "content": question}
            if self._attachments:
                message["attachments"], self._attachments = self._attachments, []
            asked: Json = {"assistant_id": self._plan.assistant, "additional_messages": [message]}
            if self._plan.model is not None:
                asked["model"] = self._plan.model
            kinds = {tool["type"] for tool in self._plan.tools}
            if more := [tool for tool in self._tools if tool["type"] not in kinds]:
                asked["tools"] = [*self._plan.tools, *more]
            stream = RunStream(client, self._plan.thread)
            return await self._to_end(client, stream, stream.begin(asked))

    async def _follow(self, run: Json, outputs: list[Json] | None) -> Json | None:
        async with self._asking() as client:
            stream = RunStream(client, run["thread_id"])
            stream.run = run
            if outputs is None:
                await stream.cancel()
                self._view.note("(cancelled)", "yellow")
                return None
            return await self._to_end(client, stream, stream.submit(outputs))

    async def _to_end(self, client: Client, stream: RunStream, told: AsyncIterator[Json]) -> Json | None:
        """The run at its end or next pause; None where Ctrl-C or a signal had it cancelled."""
        try:
            async for thing in told:
                await self._view.show(client, thing)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            await self._cancel(client, stream)
            return None
        return stream.run

    async def _cancel(self, client: Client, stream: RunStream) -> None:
        self._view.note("(cancelling)")
        if not stream.run:  # It was asked for, and nothing was told of it yet.
            stream.run = await _run_under_way(client, str(self._plan.thread))
        with contextlib.suppress(CommandError):  # It may have ended meanwhile.
            await stream.cancel()
        self._view.note("(cancelled)", "yellow")
        if not self._interactive:
            raise CommandError("interrupted; the run was cancelled", status=130)

    def _outputs(self, run: Json) -> list[Json] | None:
        """What somebody types as the outputs of the functions that a run calls; None where nobody does."""
        outputs = []
        for call in run["required_action"]["submit_tool_outputs"]["tool_calls"]:
            function = call["function"]
            self._view.note(f"{function['name']} {function['arguments']}", "yellow")
            if not self._interactive:
                self._view.note("nobody is here to answer for a function: the run is cancelled", "red")
                return None
            if (output := _typed("output> ", leaves=False)) is None:
                return None
            outputs.append({"tool_call_id": call["id"], "output": output})
        return outputs


def _typed(prompt: str, *, leaves: bool = True) -> str | None:
    """A line that somebody types; None at the end of what is typed, and unless it ``leaves``, at Ctrl-C."""
    try:
        return input(prompt)
    except EOFError:
        print()
    except KeyboardInterrupt:
        print()
        if leaves:
            raise
    return None


async def _run_under_way(client: Client, thread: str) -> Json:
    """The run that was asked for a moment ago, empty where there is none: a server that is busy may have read of it,
    and not have kept it yet.
    """
    until = time.monotonic() + _LEAVE_SECONDS
    while True:
        newest = await client.get(f"/threads/{thread}/runs", limit="1", order="desc")
        found: Json = next((run for run in newest["data"] if run["status"] in _UNDER_WAY), {})
        if found or time.monotonic() > until:
            return found
        await asyncio.sleep(_AGAIN_SECONDS)


async def _some_model(client: Client, local: str) -> str:
    """The first model that is somebody else's than the server's own, or the one on this machine."""
    models: list[Any] = (await client.get("/models"))["data"]
    others = [str(model["id"]) for model in models if model.get("owned_by") != "everloom"]
    return harmless(others[0]) if others else local
