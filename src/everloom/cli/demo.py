"""``everloom demo``: one conversation with a fresh server in a process and a data folder of its own.

The program below speaks to the server over HTTP only, as any client would: an assistant with a function,
a thread, a run that is streamed, the function's output handed in, and the run's steps as they happen.
"""

import asyncio
import contextlib
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from everloom.cli import CommandError
from everloom.cli.client import Client, Json, ServerAway
from everloom.config import PREFIX, Settings, bare_environment
from everloom.models.files.catalogue import pulled
from everloom.models.files.weights import Weights

LOCAL_MODEL = "smollm2-135m"
OURS = "everloom"
"""The owner of the models that every server lists, whatever its upstream has."""

START_SECONDS = 60
ANSWER_SECONDS = 300
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


def run_demo(settings: Settings, model: str | None) -> int:
    """Hold the conversation, printing it; the exit status."""
    from everloom.cli.weights import pull

    if not settings.upstream:
        pull(settings)
    with tempfile.TemporaryDirectory(prefix="everloom-demo-") as folder:
        return asyncio.run(_demo(settings, Path(folder), model))


async def _demo(settings: Settings, folder: Path, model: str | None) -> int:
    key = f"sk-demo-{secrets.token_hex(16)}"
    async with _server(settings, folder, key) as url:
        headers = {"authorization": f"Bearer {key}", "openai-beta": "assistants=v2"}
        timeout = aiohttp.ClientTimeout(ANSWER_SECONDS)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            client = Client(session, url)
            if model is None:
                model = await _first_model(client) if settings.upstream else _local_model(settings)
            completed = await Conversation(client, model).hold()
    return 0 if completed else 1


@contextlib.asynccontextmanager
async def _server(settings: Settings, folder: Path, key: str) -> AsyncIterator[str]:
    """The base URL of a server that lives as long as the context."""
    given = {
        "data": str(folder / "data"),
        "weights": str(settings.weights),
        "upstream": settings.upstream,
        "upstream_key": settings.upstream_key,
        "aliases": ",".join(f"{pattern}={model}" for pattern, model in settings.aliases),
        "api_key": key,
        "fetch_weights": "false",
        "log_level": "warning",
    }
    environment = bare_environment() | {PREFIX + name.upper(): value for name, value in given.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "everloom", "serve", "--host", "127.0.0.1", "--port", "0"),
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield await asyncio.wait_for(_ready(process.stdout), START_SECONDS)
    except TimeoutError as error:
        raise CommandError(f"the server was not ready within {START_SECONDS} s") from error
    except ServerAway as error:
        raise CommandError(f"the conversation broke off: {error}") from error
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _ready(output: asyncio.StreamReader) -> str:
    async for line in output:
        head, found, url = line.decode().strip().partition("ready on ")
        if found and head == "everloom: ":
            return url
    raise CommandError("the server did not start")


def _local_model(settings: Settings) -> str:
    """The chat model that was pulled, or the one in the box."""
    chats = [model.name for model in pulled(Weights(settings.weights)) if model.format == "gguf"]
    return chats[0] if chats else LOCAL_MODEL


async def _first_model(client: Client) -> str:
    """The first model of the upstream's."""
    models = [model["id"] for model in (await client.get("/models"))["data"] if model["owned_by"] != OURS]
    if not models:
        raise CommandError("the upstream lists no model; name one with --model")
    return str(models[0])


class Conversation:
    """One question that needs a function, from the assistant to the list of the run's steps."""

    def __init__(self, client: Client, model: str) -> None:
        self._client = client
        self._model = model
        self._run: Json = {}
        self._step = ""
        self._speaking = False

    async def hold(self) -> bool:
        """Whether the run completed."""
        client = self._client
        assistant = await client.post(
            "/assistants",
            {
                "model": self._model,
                "instructions": "You answer questions about libraries in one short sentence.",
                "tools": [{"type": "function", "function": FUNCTION}],
            },
        )
        thread = await client.post("/threads", {"messages": [{"role": "user", "content": QUESTION}]})
        self._say("assistant", f"{assistant['id']} on {self._model}")
        self._say("thread", thread["id"])
        self._say("user", QUESTION)
        runs = f"/threads/{thread['id']}/runs"
        call = {"type": "function", "function": {"name": FUNCTION["name"]}}
        await self._follow(runs, {"assistant_id": assistant["id"], "tool_choice": call})
        if self._run.get("status") == "requires_action":
            calls = self._run["required_action"]["submit_tool_outputs"]["tool_calls"]
            outputs = [{"tool_call_id": call["id"], "output": OUTPUT} for call in calls]
            self._say("client", f"submits {OUTPUT}")
            await self._follow(f"{runs}/{self._run['id']}/submit_tool_outputs", {"tool_outputs": outputs})
        await self._list_steps(runs)
        return self._run.get("status") == "completed"

    async def _follow(self, path: str, body: Json) -> None:
        async for event in self._client.stream(path, body):
            self._show(event)
        self._end_line()

    def _show(self, event: Json) -> None:
        match event.get("object"):
            case "thread.run":
                if event["status"] != self._run.get("status"):
                    self._say("run", f"{event['id']} {event['status']}")
                self._run = event
                if event["last_error"]:
                    self._say("error", event["last_error"]["message"])
            case "thread.run.step":
                line = f"{event['id']} {event['type']} {event['status']}"
                if line != self._step:  # A step is told twice at its start: created, in progress.
                    self._say("run step", line)
                self._step = line
            case "thread.run.step.delta":
                for call in event["delta"]["step_details"]["tool_calls"]:
                    name, arguments = (call["function"].get(key) or "" for key in ("name", "arguments"))
                    self._piece("call", f"{name} {arguments}" if name else arguments)
            case "thread.message.delta":
                for part in event["delta"].get("content", []):
                    self._piece("message", part["text"]["value"])

    async def _list_steps(self, runs: str) -> None:
        steps = await self._client.get(f"{runs}/{self._run['id']}/steps?order=asc")
        self._say("", "")
        print(f"GET /v1{runs}/{self._run['id']}/steps")
        for step in steps["data"]:
            usage = step["usage"] or {"prompt_tokens": 0, "completion_tokens": 0}
            tokens = f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens"
            print(f"  {step['id']}  {step['type']:17} {step['status']:10} {tokens}")

    def _say(self, who: str, what: str) -> None:
        self._end_line()
        print(f"{who:10} {what}".rstrip(), flush=True)

    def _piece(self, who: str, text: str) -> None:
        if not self._speaking:
            print(f"{who:10} ", end="")
            self._speaking = True
        print(text, end="", flush=True)

    def _end_line(self) -> None:
        if self._speaking:
            print(flush=True)
            self._speaking = False
