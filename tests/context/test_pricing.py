"""What models cost where the settings say nothing: what is published for upstreams', nothing for this machine's."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from everloom.app.models import build_prices
from everloom.config import Settings
from everloom.context.pricing import PriceList
from everloom.objects.ledger import MEASURES
from everloom.objects.model_entries import ModelEntry
from everloom.objects.prices import NOBODYS, Price
from tests.servers import ROOT

PUBLISHED: list[tuple[str, dict[str, Any]]] = [
    ("gpt-4o-mini", {"input": 0.15, "cached_input": 0.075, "output": 0.6, "batch": 0.5}),
    ("gpt-4o", {"input": 2.5, "cached_input": 1.25, "output": 10, "batch": 0.5}),
    ("gpt-4o-2024-08-06", {"input": 2.5, "cached_input": 1.25, "output": 10}),
    ("gpt-4o-2024-05-13", {"input": 5, "output": 15}),
    ("openai/gpt-4o", {"input": 2.5}),
    ("GPT-4o", {"input": 2.5}),
    ("o1", {"input": 15, "cached_input": 7.5, "output": 60}),
    ("gpt-4o-mini-realtime-preview", {"audio_input": 10, "audio_output": 20}),
    ("gpt-image-1.5", {"output": 10, "image_output": 32}),
    ("text-embedding-3-small", {"input": 0.02, "output": 0}),
    ("whisper-1", {"minute": pytest.approx(0.006)}),
    ("tts-1", {"characters": 15}),
    ("omni-moderation-latest", {"input": 0, "output": 0}),
    ("claude-3-haiku-20240307", {"input": 0.25, "output": 1.25}),
]


@pytest.mark.parametrize(("model", "price"), PUBLISHED)
def test_a_known_name_costs_what_its_provider_asks(model: str, price: dict[str, Any]) -> None:
    found = PriceList().of(model)
    assert {name: getattr(found, name) for name in price} == price


@pytest.mark.parametrize(
    "model", ["", "nobodys-model", "smollm2-135m", "x" * 10_000, "gpt-", "\u00e9/\n", "file_search"]
)
def test_an_unknown_name_costs_nothing(model: str) -> None:
    assert PriceList().of(model) == NOBODYS


def test_requests_are_priced_too() -> None:
    assert PriceList(upstreams=[("*", "https://api.perplexity.ai")]).of("sonar").call == pytest.approx(0.012)


def test_the_host_of_an_upstream_says_whose_price_it_is() -> None:
    name = "llama-3.1-8b-instant"
    assert PriceList().of(name) == NOBODYS
    prices = PriceList(upstreams=[("llama-*", "https://api.groq.com/openai/v1"), ("*", "http://127.0.0.1:8000/v1")])
    assert (prices.of(name).input, prices.of(name).output) == (0.05, 0.08)
    assert prices.of("gpt-4o").input == 2.5


def test_the_settings_overrule_what_is_published() -> None:
    prices = PriceList((Price(model="gpt-4o-2024*", input=7), Price(model="gpt-4o", input=0)))
    assert [prices.of(name).input for name in ("gpt-4o-2024-08-06", "gpt-4o", "gpt-4o-mini")] == [7, 0, 0.15]
    assert PriceList(defaults=False).of("gpt-4o") == NOBODYS


@pytest.mark.parametrize("name", ["GPT-4o", "gpt-4o:latest", "Gpt-4o-MINI"])
def test_no_spelling_of_a_name_is_cheaper(name: str) -> None:
    assert PriceList((Price(model="gpt-4o*", input=7),)).of(name).input == 7
    assert PriceList().of(name) not in (NOBODYS, PriceList().of("nothing"))


def test_a_model_of_this_machine_costs_what_the_settings_say_or_nothing() -> None:
    prices = PriceList((Price(model="gpt-3*", input=1),), local=["gpt-4o", "gpt-3.5-turbo"])
    assert prices.of("gpt-4o") == NOBODYS
    assert prices.of("gpt-4o", local=False).input == 2.5
    assert prices.of("gpt-4o-mini", local=True) == NOBODYS
    assert prices.of("gpt-4o-mini").input == 0.15
    assert prices.of("gpt-3.5-turbo").input == 1


def test_the_settings_say_which_names_are_of_this_machine(tmp_path: Path) -> None:
    entries = (
        ModelEntry(id="o1", backend="local", path=tmp_path / "a.gguf"),
        ModelEntry(id="guard", backend="local", model="gpt-4", guard=True),
        ModelEntry(
            id="fast", backend="upstream", base_url="https://api.groq.com/openai/v1", model="openai/gpt-oss-20b"
        ),
    )
    # An alias is no name of a model: what is asked of it stands in the ledger under the model's own.
    prices = build_prices(Settings(data=tmp_path, models=entries, aliases=(("gpt-4o", "o1"),)))
    assert prices.of("o1") == prices.of("gpt-4") == prices.of("smollm2-135m") == NOBODYS
    assert prices.of("gpt-4o").input == 2.5
    assert prices.of("openai/gpt-oss-20b") != PriceList().of("openai/gpt-oss-20b")


def test_names_are_learned_beside_the_loop() -> None:
    prices = PriceList()
    asyncio.run(prices.learn(["gpt-4o", "nobodys-model"]))
    sums = dict.fromkeys(MEASURES, 0) | {"input_tokens": 1000, "cached_tokens": 400, "output_tokens": 100}
    assert prices.dollars("chat", "gpt-4o", False, sums) == pytest.approx(0.0015 + 0.0005 + 0.001)
    assert prices.dollars("chat", "gpt-4o", True, sums) == pytest.approx(0.0015)
    assert prices.dollars("chat", "nobodys-model", False, sums) == 0


def test_names_that_callers_make_up_are_forgotten_again() -> None:
    prices = PriceList()
    for number in range(25_000):
        prices.of(f"gpt-{number}-made-up")
    assert prices.of("gpt-4o").input == 2.5
    assert len(prices._known) <= 10_000


ALONE = """
import sys, threading

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen"):
        raise SystemExit(f"{event}: {arguments}")

sys.addaudithook(refuse)
from everloom.app.models import build_prices
from everloom.config import Settings
assert not [name for name in sys.modules if name.startswith(("genai_prices", "httpx2"))]
prices = build_prices(Settings())
assert prices.of("smollm2-135m").input == 0
assert not [name for name in sys.modules if name.startswith("genai_prices")]
assert prices.of("gpt-4o").input == 2.5
assert threading.active_count() == 1
"""


def test_prices_come_with_the_install_and_are_imported_when_they_are_needed() -> None:
    this_tree = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, env=this_tree, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
