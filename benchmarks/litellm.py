"""Chat completions through Everloom and through the LiteLLM proxy, before the same upstream, in turns.

The proxy is installed with pip into an environment of its own (700 MB, kept in the user's cache folder), and runs as
its documentation says: one worker, a configuration of one model, a master key.
"""

import contextlib
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gateways import LITELLM_PACKAGE, Unobtainable, free_port, installed
from benchmarks.measure import (
    API_KEY,
    HEADERS,
    Program,
    Row,
    everloom,
    folder,
    machine,
    median,
    note,
    options,
    put,
    repeated,
    table,
    upstream,
)

ASK = ["POST /v1/chat/completions"]
WORDS = 100
CLIENTS = 8
TIMES = 20
"""The design's budget: so many times what the proxy does."""


def main() -> None:
    chosen = options(__doc__).parse_args()
    print(f"{table(measure(chosen.repetitions, chosen.seconds))}\n\n{machine()}")


def measure(repetitions: int, seconds: float) -> list[Row]:
    """The table's rows; one that says why where the proxy cannot be installed."""
    try:
        command = installed(LITELLM_PACKAGE) / "bin" / "litellm"
    except Unobtainable as problem:
        return [Row("LiteLLM proxy", str(problem))]
    return [*_whole(command, repetitions, seconds), *_streamed(command, repetitions, seconds)]


def _whole(command: Path, repetitions: int, seconds: float) -> Iterator[Row]:
    note("LiteLLM: chat completions, whole")
    with _three(command, words=8) as servers:
        results = _measured(servers, repetitions, seconds, {})
        memory = {name: program.memory() / 1e6 for name, program in servers.items()}
    rate = {name: median(result.rate for result in found) for name, found in results.items()}
    cpu = {name: median(result.cpu[0] / result.requests for result in found) * 1e3 for name, found in results.items()}
    times = rate["everloom"] / rate["litellm"]
    yield Row(
        f"chat completions, {CLIENTS} clients",
        f"{rate['everloom']:,.0f} requests/s, {cpu['everloom']:.2f} ms of CPU each: {times:.0f} × LiteLLM",
        f"LiteLLM {rate['litellm']:,.0f} requests/s, {cpu['litellm']:.1f} ms; upstream alone {rate['upstream']:,.0f}",
        f"at least {TIMES} ×",
        times >= TIMES,
    )
    yield Row("memory after that", f"{memory['everloom']:.0f} MB", f"LiteLLM {memory['litellm']:.0f} MB")


def _streamed(command: Path, repetitions: int, seconds: float) -> Iterator[Row]:
    note("LiteLLM: streams")
    with _three(command, words=WORDS) as servers:
        results = _measured(servers, repetitions, seconds, {"stream": True})
    rate = {name: median(result.events / result.seconds for result in found) for name, found in results.items()}
    times = rate["everloom"] / rate["litellm"]
    yield Row(
        f"streamed chunks, {CLIENTS} streams as fast as they come",
        f"{rate['everloom']:,.0f} chunks/s: {times:.0f} × LiteLLM",
        f"LiteLLM {rate['litellm']:,.0f} chunks/s; upstream alone {rate['upstream']:,.0f}",
        f"at least {TIMES} ×",
        times >= TIMES,
    )


def _measured(servers: dict[str, Program], repetitions: int, seconds: float, more: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "What is the capital?"}], **more})
    # The proxy takes seconds over its very first answers.
    fields = {"headers": HEADERS, "body": body, "warm_up": 5.0, "seconds": seconds, "connections": CLIENTS}
    cases = {
        name: functools.partial(put, program.url, ASK, pids=[program.pid], **fields)
        for name, program in servers.items()
    }
    return repeated(repetitions, cases)


@contextlib.contextmanager
def _three(command: Path, words: int) -> Iterator[dict[str, Program]]:
    """The upstream, and both proxies before it."""
    with folder() as home, upstream(words=words) as up, everloom(home / "everloom", upstream=up.url) as server:
        settings = {"model": "openai/gpt-4o", "api_base": up.url, "api_key": "none"}
        configuration = {
            "model_list": [{"model_name": "gpt-4o", "litellm_params": settings}],
            "general_settings": {"master_key": API_KEY},
        }
        file = home / "litellm.yaml"
        file.write_text(json.dumps(configuration))  # JSON is YAML
        arguments = [str(command), "--config", str(file), "--host", "127.0.0.1", "--port", str(free_port())]
        with Program(
            *arguments,
            ready=r"Uvicorn running on (http://\S+)",
            environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""},
            python=str(command.with_name("python")),
        ) as proxy:
            yield {"upstream": up, "everloom": server, "litellm": proxy}


if __name__ == "__main__":
    main()
