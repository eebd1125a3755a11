"""The conversations of ``everloom demo``: a function, a handbook, code; and what their runs tell, as it happens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from everloom.cli.client import Client, Json
from everloom.cli.display import Display
from everloom.cli.run_stream import RunStream

FUNCTION = {
    "name": "get_opening_hours",
    "description": "The opening hours of a library in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Oslo", "Bergen", "Tromsø"]}},
        "required": ["city"],
    },
}
QUESTION = "When does the library in Bergen open?"
OUTPUT = "The library in Bergen opens at 09:00 and closes at 20:00."
LIBRARIAN = "You answer questions about libraries in one short sentence."

HANDBOOK = """# The handbook of the Blue Fern Inn

The code of the key box beside the door is 8051.

The kitchen is cleaned by whoever cooked last.
"""
HANDBOOK_QUESTION = "What is the code of the key box?"

CODE_QUESTION = "Run print(sum(n * n for n in range(1, 11))) in Python. What does it print?"
CALCULATOR = "You are a calculator. You run code, and say its result in one short sentence."

MOST_TOKENS = 200
"""Of a run's answers, so that a small model that does not find an end is ended."""

_LOOK_SECONDS = 0.1
_QUOTED = 100
"""Characters of a cited passage that are shown."""


class Conversation:
    """One question to an assistant of its own. ``broken`` as ``RunStream`` has it."""

    def __init__(
        self, client: Client, display: Display, model: str, broken: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._client = client
        self._display = display
        self._model = model
        self._broken = broken
        self._steps: dict[str, str] = {}
        self._status = ""
        self.stream: RunStream
        self.muted = False
        """Whether pieces of messages are not shown: what was on its way when the server was killed."""
        self.told: Callable[[Json], Awaitable[None]] = _nothing
        """Hears of everything that is told, once it has been shown."""

    async def ask(self, question: str, instructions: str | None, *tools: Json, **asked: Any) -> Json:
        """Ask, and show the run to its end or to the calls that it waits for; the run. ``asked``: ``tool_resources``
        of the assistant, and what else a run is asked for.
        """
        assistant = {"model": self._model, "instructions": instructions, "tools": list(tools), "temperature": 0}
        if (resources := asked.pop("tool_resources", None)) is not None:
            assistant["tool_resources"] = resources
        made = await self._client.post("/assistants", assistant)
        thread = await self._client.post("/threads", {"messages": [{"role": "user", "content": question}]})
        self._display.line(f"{made['id']} on {self._model}", who="assistant")
        self._display.line(thread["id"], who="thread")
        self._display.line(question, "bold", who="user")
        self.stream = RunStream(self._client, thread["id"], self._broken)
        return await self._show(self.stream.begin({"assistant_id": made["id"], **asked}))

    async def submit(self, output: str) -> Json:
        """Hand in what the function gave, and show how the run goes on; the run."""
        calls = self.stream.run["required_action"]["submit_tool_outputs"]["tool_calls"]
        self._display.line(f"submits {output}", "green", who="client")
        return await self._show(self.stream.submit([{"tool_call_id": call["id"], "output": output} for call in calls]))

    async def list_steps(self) -> list[Json]:
        """Show the run's steps as a client lists them; the steps."""
        path = f"{self.stream.path}/steps"
        steps: list[Json] = (await self._client.get(path, order="asc"))["data"]
        self._display.line()
        self._display.line(f"GET /v1{path}", "dim")
        for step in steps:
            usage = step["usage"] or {"prompt_tokens": 0, "completion_tokens": 0}
            tokens = f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens"
            self._display.line(f"  {step['id']}  {step['type']:17} {step['status']:10} {tokens}", "dim")
        return steps

    async def _show(self, told: AsyncIterator[Json]) -> Json:
        async for thing in told:
            self._show_one(thing)
            await self.told(thing)
        self._display.end()
        return self.stream.run

    def _show_one(self, thing: Json) -> None:
        match thing.get("object"):
            case "thread.run":
                self._show_run(thing)
            case "thread.run.step":
                if self._steps.get(thing["id"]) != thing["status"]:  # It is told twice at its start.
                    self._show_step(thing)
                self._steps[thing["id"]] = thing["status"]
            case "thread.run.step.delta":
                for call in thing["delta"]["step_details"]["tool_calls"]:
                    self._show_call(call)
            case "thread.message.delta" if not self.muted:
                for part in thing["delta"].get("content", []):
                    self._display.piece(part.get("text", {}).get("value", ""), "cyan", who="message")
            case "thread.message":
                self._display.end()  # Where it is told anew it begins on a new line.
                self._show_citations(thing)

    def _show_run(self, run: Json) -> None:
        status, self._status = self._status, run["status"]
        if run["status"] != status:
            self._display.line(f"{run['id']} {run['status']}", _STYLES.get(run["status"], "blue"), who="run")
        if run["last_error"]:
            self._display.line(run["last_error"]["message"], "red", who="error")

    def _show_step(self, step: Json) -> None:
        self._display.line(f"{step['id']} {step['type']} {step['status']}", "magenta", who="run step")
        for call in step["step_details"].get("tool_calls", ()) if step["status"] == "completed" else ():
            for found in call.get("file_search", {}).get("results", ()):
                self._display.line(f"a passage of {found['file_name']}, score {found['score']:.2f}", who="found")

    def _show_call(self, call: Json) -> None:
        if (function := call.get("function")) is not None:
            name, arguments = (function.get(key) or "" for key in ("name", "arguments"))
            self._display.piece(f"{name} {arguments}" if name else arguments, "yellow", who="call")
        if (code := call.get("code_interpreter")) is not None:
            self._display.piece(code.get("input") or "", "yellow", who="code")
            for output in code.get("outputs", ()):
                if output["type"] == "logs":
                    self._display.line(output["logs"], "green", who="output")

    def _show_citations(self, message: Json) -> None:
        for part in message["content"]:
            for mark in part.get("text", {}).get("annotations", ()):
                quoted = " ".join(mark.get("file_citation", {}).get("quote", "").split())
                shown = f"{quoted[:_QUOTED]}…" if len(quoted) > _QUOTED else quoted
                self._display.line(f"{mark['text']} is in the handbook: {shown}", "green", who="citation")


_STYLES = {"completed": "green", "failed": "red", "incomplete": "yellow", "expired": "red"}


async def _nothing(thing: Json) -> None:
    pass


def function_choice() -> Json:
    """That the run is to call the function."""
    return {"type": "function", "function": {"name": FUNCTION["name"]}}


class Scenes:
    """All of them, one after the other. ``why_no_search`` and ``why_no_code`` say what a scene lacks, where it does."""

    def __init__(self, client: Client, display: Display, model: str) -> None:
        self._client = client
        self._display = display
        self._model = model
        self.why_no_search: str | None = None
        self.why_no_code: str | None = None

    async def play(self) -> bool:
        """Whether every run came to its end."""
        ended = [await self._function(), await self._handbook(), await self._code()]
        return all(run is None or run.get("status") in ("completed", "incomplete") for run in ended)

    def _conversation(self, title: str) -> Conversation:
        self._display.title(title)
        return Conversation(self._client, self._display, self._model)

    def _pass_over(self, why: str) -> None:
        self._display.line(f"not here: {why}", "yellow", who="demo")

    async def _function(self) -> Json:
        held = self._conversation("1. A function of the client's")
        tool = {"type": "function", "function": FUNCTION}
        choice = function_choice()
        run = await held.ask(QUESTION, LIBRARIAN, tool, tool_choice=choice, max_completion_tokens=MOST_TOKENS)
        if run.get("status") == "requires_action":
            run = await held.submit(OUTPUT)
        await held.list_steps()
        return run

    async def _handbook(self) -> Json | None:
        held = self._conversation("2. A handbook, and where in it the answer stands")
        if self.why_no_search is not None:
            self._pass_over(self.why_no_search)
            return None
        with TemporaryDirectory(prefix="everloom-demo-") as folder:
            path = Path(folder) / "handbook.md"
            path.write_text(HANDBOOK)
            file = await self._client.upload("/files", path, purpose="assistants")
        store = await self._client.post("/vector_stores", {"name": "Handbook", "file_ids": [file["id"]]})
        while store["status"] == "in_progress":
            await asyncio.sleep(_LOOK_SECONDS)
            store = await self._client.get(f"/vector_stores/{store['id']}")
        resources = {"file_search": {"vector_store_ids": [store["id"]]}}
        return await held.ask(
            *(HANDBOOK_QUESTION, None, {"type": "file_search"}),
            tool_resources=resources,
            max_completion_tokens=MOST_TOKENS,
        )

    async def _code(self) -> Json | None:
        held = self._conversation("3. Code, in a sandbox without network")
        if self.why_no_code is not None:
            self._pass_over(f"{self.why_no_code} (docs/code-interpreter.md)")
            return None
        tool = {"type": "code_interpreter"}
        return await held.ask(CODE_QUESTION, CALCULATOR, tool, tool_choice=tool, max_completion_tokens=MOST_TOKENS)
