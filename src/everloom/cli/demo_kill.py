"""``everloom demo --kill``: a server that is killed in the middle of an answer, and a run that goes on to its end."""

import asyncio
import time

from everloom.cli.client import Client, Json
from everloom.cli.demo_scenes import FUNCTION, Conversation, function_choice
from everloom.cli.display import Display
from everloom.cli.own_server import OwnServer

QUESTION = "When is the library in Bergen open on each day?"
OUTPUT = (
    "The library in Bergen is open from 09:00 to 20:00 from Monday to Friday, from 10:00 to 16:00 on Saturday, "
    "and closed on Sunday. Its café closes an hour before the library does."
)
LIBRARIAN = "You tell visitors of libraries everything that the function says."
MOST_TOKENS = 160

PIECES = 8
"""Of the answer that are seen before the server is killed."""


class KillScene:
    """One conversation, whose server is killed once."""

    def __init__(self, client: Client, display: Display, model: str, server: OwnServer) -> None:
        self._client = client
        self._display = display
        self._server = server
        self._held = Conversation(client, display, model, self._start_again)
        self._held.told = self._look
        self._pieces = 0
        self._killed = False
        self._away = False
        self._kept: list[Json] = []
        self._paused = 0

    async def play(self) -> bool:
        """Whether the run was killed, and came to its end all the same."""
        self._display.title("A run whose server is killed")
        tool = {"type": "function", "function": FUNCTION}
        more = {"tool_choice": function_choice(), "max_completion_tokens": MOST_TOKENS}
        run = await self._held.ask(QUESTION, LIBRARIAN, tool, **more)
        before = run["id"]
        if run["status"] == "requires_action":
            self._kept = (await self._client.get(f"{self._held.stream.path}/steps", order="asc"))["data"]
            run = await self._held.submit(OUTPUT)
        if self._away:  # All had been told before it was killed.
            await self._start_again()
        steps = await self._held.list_steps()
        return self._conclude(before, run, steps)

    async def _look(self, thing: Json) -> None:
        """Kill the server once the answer is under way."""
        if thing.get("object") == "thread.run" and thing["status"] == "requires_action":
            self._paused += 1
        self._pieces += thing.get("object") == "thread.message.delta"
        if self._pieces < PIECES or self._killed:
            return
        self._killed = self._away = self._held.muted = True
        await asyncio.to_thread(self._server.kill)
        text = f"kill -9 of the server's whole process group ({self._server.pid}), in the middle of the answer"
        self._display.line(text, "bold red", who="kill")

    async def _start_again(self) -> None:
        began = time.monotonic()
        await asyncio.to_thread(self._server.start)
        self._away = self._held.muted = False
        text = f"started again on the same folder, ready after {time.monotonic() - began:.1f} s"
        self._display.line(text, "bold green", who="server")

    def _conclude(self, before: str, run: Json, steps: list[Json]) -> bool:
        if not self._killed:
            self._display.line("The answer was there before anybody could kill the server.", "yellow")
            return False
        ids = {step["id"]: step for step in steps}
        kept = [step["id"] for step in self._kept if ids.get(step["id"], {}).get("type") == step["type"]]
        ended = run["status"] in ("completed", "incomplete")
        facts = [
            (run["id"] == before and ended, f"the same run, {run['id']}, is {run['status']}"),
            (
                bool(kept) and len(kept) == len(self._kept),
                f"the step that was kept stands as it was: {', '.join(kept)}",
            ),
            (self._paused == 1, "the function was asked for once, and its output submitted once"),
            (len(steps) == len(kept) + 1, "the answer that broke off was told anew, in one message"),
        ]
        self._display.line()
        for right, fact in facts:
            self._display.line(f"{'✓' if right else '✗'} {fact}", "green" if right else "red")
        return all(right for right, _ in facts)
