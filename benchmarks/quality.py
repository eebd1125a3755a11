"""What the models in the box and in the catalogue can do, so that one knows what to pull: a small honest table.

Asked over HTTP at temperature 0: the right one of four functions (forced, and by the model's own choice), arguments,
JSON by a schema, questions with one right answer, and words that are wrong after text was spoken and heard again. What
is not here is not measured, and named. ``--weights FOLDER`` is where models were pulled to, by default the user's own.
"""

import argparse
import json
import re
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import API_KEY, Program, everloom, folder, machine, note
from benchmarks.quality_questions import EXACT, FORMS, FUNCTIONS, SENTENCES, TOOLS
from everloom.config import load
from everloom.models.files.catalogue import CATALOGUE, CatalogueModel
from everloom.models.files.weights import DEFAULT_MODEL, SMOLLM2, Weights
from everloom.models.llama.tool_arguments import ToolSchemas

WAIT_S = 300
_SCHEMAS = ToolSchemas({function["name"]: function["parameters"] for function in FUNCTIONS})


class Seen(NamedTuple):
    """A line of the table. ``seconds``: the median of an answer."""

    model: str
    what: str
    result: str
    seconds: float


class Asked:
    """A server that is asked, and how long each answer took."""

    def __init__(self, server: Program) -> None:
        self._url = server.url
        self.seconds: list[float] = []

    def post(self, path: str, body: bytes, kind: str = "application/json") -> bytes:
        """The answer's bytes."""
        headers = {"authorization": f"Bearer {API_KEY}", "content-type": kind}
        request = urllib.request.Request(self._url + path, body, headers)
        began = time.monotonic()
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            read: bytes = answer.read()
        self.seconds.append(time.monotonic() - began)
        return read

    def chat(self, model: str, question: str, **more: Any) -> dict[str, Any]:
        """The message of the answer."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": 200,
        }
        answer = json.loads(self.post("/chat/completions", json.dumps(body | more).encode()))
        message: dict[str, Any] = answer["choices"][0]["message"]
        return message

    def line(self, model: str, what: str, results: Sequence[bool]) -> Seen:
        """The share of what was right, with the time of what was asked since the last line."""
        seen = Seen(model, what, f"{sum(results)} of {len(results)}", _median(self.seconds))
        self.seconds.clear()
        return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=None, help="the folder of pulled weights")
    weights = parser.parse_args().weights or load({}).weights
    seen, missing = measure(weights.absolute())
    print("| model | what | right | seconds an answer |\n|---|---|---|---|")
    for row in seen:
        print(f"| {row.model} | {row.what} | {row.result} | {row.seconds:.1f} |")
    for text in missing:
        print(f"\nNot measured: {text}")
    print(f"\n{machine()}, {datetime.now(UTC):%Y-%m-%d}")


def measure(weights: Path) -> tuple[list[Seen], list[str]]:
    """The table's lines, and what could not be measured and why."""
    here, missing = _here(Weights(weights))
    chats = [DEFAULT_MODEL] if Weights(weights).has(SMOLLM2) else []
    if not chats:
        missing.append(f"{DEFAULT_MODEL} ('everloom models pull')")
    chats += [model.name for model in here if model.format == "gguf"]
    voices = ["espeak-ng", *(model.name for model in here if model.format == "piper")]
    ears = ["pocketsphinx", *(model.name for model in reversed(here) if model.format == "whisper")]
    seen: list[Seen] = []
    with folder() as home, everloom(home / "data", weights=weights) as server:
        asked = Asked(server)
        for model in chats:
            for ask in (_forced_calls, _chosen_calls, _json, _exact):
                note(f"{model}: {ask.__name__.strip('_')}")
                seen += ask(asked, model)
        for voice in voices:
            spoken = [_spoken(asked, voice, sentence) for sentence in SENTENCES]
            asked.seconds.clear()
            for ear in ears:
                note(f"{voice} heard by {ear}")
                seen.append(_heard(asked, voice, ear, spoken))
    return seen, missing


def _here(weights: Weights) -> tuple[list[CatalogueModel], list[str]]:
    here, missing = [], []
    for model in CATALOGUE:
        if not weights.has(model.weight):
            missing.append(f"{model.name} ('everloom models pull {model.name}')")
        elif not model.usable():
            missing.append(f"{model.name} (pip install 'everloom[{model.extra}]')")
        else:
            here.append(model)
    return here, missing


def _forced_calls(asked: Asked, model: str) -> list[Seen]:
    named = [(question, call) for question, call in TOOLS if call is not None]
    messages = [asked.chat(model, question, tools=_tools(), tool_choice="required") for question, _ in named]
    return _calls(asked, model, "forced", messages, [call for _, call in named])


def _chosen_calls(asked: Asked, model: str) -> list[Seen]:
    messages = [asked.chat(model, question, tools=_tools()) for question, _ in TOOLS]
    called = [(message, call) for message, (_, call) in zip(messages, TOOLS, strict=True) if call is not None]
    spared = [not message.get("tool_calls") for message, (_, call) in zip(messages, TOOLS, strict=True) if call is None]
    seen = _calls(asked, model, "of its own choice", [message for message, _ in called], [call for _, call in called])
    return [*seen, seen[0]._replace(what="no function where none is needed", result=f"{sum(spared)} of {len(spared)}")]


def _calls(
    asked: Asked, model: str, how: str, messages: Sequence[dict[str, Any]], wanted: Sequence[tuple[str, dict[str, Any]]]
) -> list[Seen]:
    made = [
        (message.get("tool_calls") or [{"function": {"name": "", "arguments": ""}}])[0]["function"]
        for message in messages
    ]
    right = [call["name"] == name for call, (name, _) in zip(made, wanted, strict=True)]
    fits = [call["name"] in _SCHEMAS.names and _SCHEMAS.fits(call["name"], call["arguments"]) for call in made]
    same = [
        ok and _same(call["arguments"], arguments) for ok, call, (_, arguments) in zip(right, made, wanted, strict=True)
    ]
    first = asked.line(model, f"right function of {len(FUNCTIONS)}, {how}", right)
    return [
        first,
        first._replace(what=f"arguments by the schema, {how}", result=f"{sum(fits)} of {len(fits)}"),
        first._replace(what=f"arguments as they were meant, {how}", result=f"{sum(same)} of {len(same)}"),
    ]


def _same(arguments: str, wanted: dict[str, Any]) -> bool:
    """Whether every argument that was asked for is there, whatever its case."""
    try:
        given = json.loads(arguments)
    except ValueError:
        return False
    return all(str(given.get(key)).strip().casefold() == str(value).casefold() for key, value in wanted.items())


def _json(asked: Asked, model: str) -> list[Seen]:
    results = []
    for question, schema in FORMS:
        format = {"type": "json_object"} if schema is None else _format(schema)
        content = asked.chat(model, question, response_format=format).get("content") or ""
        results.append(ToolSchemas({"answer": schema or {}}).fits("answer", content))
    return [asked.line(model, "JSON, valid and by the schema", results)]


def _exact(asked: Asked, model: str) -> list[Seen]:
    answers = [asked.chat(model, question).get("content") or "" for question, _ in EXACT]
    return [
        asked.line(
            model,
            "questions with one answer",
            [bool(re.search(rf"\b{right}\b", answer, re.I)) for answer, (_, right) in zip(answers, EXACT, strict=True)],
        )
    ]


def _spoken(asked: Asked, voice: str, sentence: str) -> bytes:
    body = {"model": voice, "voice": "alloy", "input": sentence, "response_format": "wav"}
    return asked.post("/audio/speech", json.dumps(body).encode())


def _heard(asked: Asked, voice: str, ear: str, spoken: Sequence[bytes]) -> Seen:
    wrong = count = 0
    for sound, sentence in zip(spoken, SENTENCES, strict=True):
        mark = uuid.uuid4().hex
        parts = f'--{mark}\r\ncontent-disposition: form-data; name="model"\r\n\r\n{ear}\r\n--{mark}\r\n'
        parts += 'content-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n'
        body = parts.encode() + sound + f"\r\n--{mark}--\r\n".encode()
        text = json.loads(asked.post("/audio/transcriptions", body, f"multipart/form-data; boundary={mark}"))["text"]
        wrong += wrong_words(_words(sentence), _words(text))
        count += len(_words(sentence))
    seen = Seen(f"{voice} heard by {ear}", "wrong words", f"{wrong} of {count}", _median(asked.seconds))
    asked.seconds.clear()
    return seen


def wrong_words(said: Sequence[str], heard: Sequence[str]) -> int:
    """How many words have to be changed, added or left out to make the one of the other."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, 1):
        before, row[0] = row[0], number
        for place, other in enumerate(heard, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != other))
    return row[-1]


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def _tools() -> list[dict[str, Any]]:
    return [{"type": "function", "function": function} for function in FUNCTIONS]


def _format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


if __name__ == "__main__":
    main()
