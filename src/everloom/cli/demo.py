"""``everloom demo``: conversations with a fresh server in a process and a data folder of its own.

What stands in ``demo_scenes.py`` speaks to the server over HTTP only, as any client would. Nothing is left but the
models' weights, which every server of this user shares.
"""

import asyncio
import secrets
import tempfile
import time
from pathlib import Path

import aiohttp
import msgspec

from everloom.cli import CommandError
from everloom.cli.client import Client
from everloom.cli.demo_kill import KillScene
from everloom.cli.demo_scenes import Scenes
from everloom.cli.display import Display
from everloom.cli.own_server import OwnServer, ending_by_signals
from everloom.config import PREFIX, Settings, bare_environment
from everloom.models.files.catalogue import pulled
from everloom.models.files.weights import EMBEDDING_MODEL, MINILM, Weights

LOCAL_MODEL = "smollm2-135m"
OURS = "everloom"
"""The owner of the models that every server lists, whatever its upstream has."""

ANSWER_SECONDS = 300
_GIVEN = ("upstream", "upstream_key", "embedding_model", "sandbox_gateway", "sandbox_gateway_token")
"""Settings that the demo's server shares with others, where they are set."""


def run_demo(settings: Settings, model: str | None, *, kill: bool = False) -> int:
    """Hold the conversations, printing them; the exit status. ``kill``: one, whose server is killed in its midst."""
    from everloom.app.pulled import missing
    from everloom.cli.weights import pull

    if not settings.upstream and missing(settings):
        pull(settings)
    try:
        with ending_by_signals(), tempfile.TemporaryDirectory(prefix="everloom-demo-") as folder:
            return _demo(settings, Path(folder), model, kill)
    except KeyboardInterrupt:
        raise CommandError("the demo was interrupted; its server and its folder are gone", status=130) from None


def _demo(settings: Settings, folder: Path, model: str | None, kill: bool) -> int:
    key = f"sk-demo-{secrets.token_hex(16)}"
    own = msgspec.structs.replace(settings, data=folder / "data")
    server = OwnServer((), _environment(own, key), log=folder / "server.log")
    display = Display()
    try:
        began = time.monotonic()
        url = server.start()
        display.line(f"{url}, a fresh server, ready after {time.monotonic() - began:.1f} s", who="server")
        completed = asyncio.run(_converse(own, display, server, url, key, model, kill))
    finally:
        server.stop()
    _say_what_next(display, settings, kill)
    return 0 if completed else 1


async def _converse(
    settings: Settings, display: Display, server: OwnServer, url: str, key: str, model: str | None, kill: bool
) -> bool:
    headers = {"authorization": f"Bearer {key}", "openai-beta": "assistants=v2"}
    timeout = aiohttp.ClientTimeout(ANSWER_SECONDS)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        client = Client(session, url)
        if model is None:
            model = await _first_model(client) if settings.upstream else local_model(settings)
        try:
            if kill:
                return await KillScene(client, display, model, server).play()
            scenes = Scenes(client, display, model)
            scenes.why_no_search, scenes.why_no_code = _why_no_search(settings), await _why_no_code(settings)
            return await scenes.play()
        except CommandError as error:
            raise CommandError(f"the conversation broke off: {error}") from error


def _environment(settings: Settings, key: str) -> dict[str, str]:
    given = {
        "data": str(settings.data),
        "weights": str(settings.weights),
        "aliases": ",".join(f"{pattern}={model}" for pattern, model in settings.aliases),
        "api_key": key,
        "fetch_weights": "false",
        "log_level": "warning",
        **{name: getattr(settings, name) for name in _GIVEN},
    }
    if settings.sandbox_python != Path():
        given["sandbox_python"] = str(settings.sandbox_python)
    return bare_environment() | {PREFIX + name.upper(): value for name, value in given.items()}


def local_model(settings: Settings) -> str:
    """The chat model that was pulled, or the one in the box."""
    chats = [model.name for model in pulled(Weights(settings.weights)) if model.format == "gguf"]
    return chats[0] if chats else LOCAL_MODEL


async def _first_model(client: Client) -> str:
    """The first model of the upstream's."""
    models = [model["id"] for model in (await client.get("/models"))["data"] if model["owned_by"] != OURS]
    if not models:
        raise CommandError("the upstream lists no model; name one with --model")
    return str(models[0])


def _why_no_search(settings: Settings) -> str | None:
    """None where a handbook can be searched; else why not."""
    if settings.embedding_model != EMBEDDING_MODEL or Weights(settings.weights).has(MINILM):
        return None
    return f"{EMBEDDING_MODEL} is not on this machine, by which passages are found; 'everloom models pull' fetches it"


async def _why_no_code(settings: Settings) -> str | None:
    """None where code can be run; else why not."""
    from everloom.app import sandboxes

    tried = sandboxes(settings)
    await tried.open()
    missing = tried.available()
    await tried.close()
    return missing


def _say_what_next(display: Display, settings: Settings, kill: bool) -> None:
    display.title("What next")
    other = ("demo", "conversations with a function, a handbook and code") if kill else None
    other = other or ("demo --kill", "the server is killed in the middle of an answer")
    commands = [other, ("chat", "talk to it yourself"), ("serve", "then change the base URL of your program, no more")]
    for command, what in commands:
        display.line(f"  everloom {command:12}  {what}")
    weights = f"; the models' weights stay in {settings.weights}" if not settings.upstream else ""
    display.line(f"The demo's server and its folder are gone{weights}.", "dim")
