"""The programs that people use in a storm: each asks again what was not answered, and says what should be the case."""

import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx

from tests.replies import Json
from tests.servers import API_KEY

STUCK_SECONDS = 90.0
"""In which a run ends, in the middle of the storm."""

ENDS = {"completed", "failed", "cancelled", "expired", "incomplete"}

LOOKUP = {
    "type": "function",
    "function": {"name": "lookup", "parameters": {"type": "object", "properties": {"word": {"type": "string"}}}},
}


class Wrong(Exception):
    """Something is not as it should be."""


class Unanswered(Exception):
    """Nobody knows whether it was done."""


class Ledger:
    """What was acknowledged, as checks to be made in the end; each says what is wrong, or nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.checks: list[Callable[[Program], str]] = []
        self.wrong: list[str] = []
        self.ended: Counter[str] = Counter()
        self.unanswered = 0

    def expect(self, check: "Callable[[Program], str]") -> None:
        with self._lock:
            self.checks.append(check)

    def count(self, name: str) -> None:
        with self._lock:
            self.ended[name] += 1


class Program:
    """A client of whatever server answers. ``where`` gives a server's URL, another one each time."""

    def __init__(self, where: Callable[[], str], chance: random.Random, ledger: Ledger) -> None:
        self._where = where
        self.chance = chance
        self.ledger = ledger
        headers = {"authorization": f"Bearer {API_KEY}", "openai-beta": "assistants=v2"}
        self._http = httpx.Client(headers=headers, timeout=20)

    def use(self, name: str, what: "Callable[[Program], None]") -> None:
        """Run to its end, and note what was wrong."""
        try:
            what(self)
            self.ledger.count(name)
        except Wrong as wrong:
            self.ledger.wrong.append(f"{name}: {wrong}")
        except Exception as error:
            self.ledger.wrong.append(f"{name}: {error!r}")
        finally:
            self.close()

    def close(self) -> None:
        """Let its connections go."""
        self._http.close()

    def once(self, method: str, path: str, **fields: Any) -> httpx.Response:
        """Ask once. Errors: ``Unanswered`` where a server or the way to it broke."""
        try:
            answer = self._http.request(method, self._where() + path, **fields)
        except httpx.HTTPError as error:
            self.ledger.unanswered += 1
            raise Unanswered from error
        if answer.status_code >= 500:
            self.ledger.unanswered += 1
            if answer.status_code != 503:
                raise Wrong(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            raise Unanswered
        return answer

    def streamed(self, path: str, body: Json) -> AbstractContextManager[httpx.Response]:
        """Ask once, and read the answer as it comes."""
        return self._http.stream("POST", self._where() + path, json=body)

    def get(self, path: str, **query: Any) -> Json:
        """What is there, asked as often as it takes."""
        answer = self.again("GET", path, params=query)
        if answer.status_code != 200:
            raise Wrong(f"GET {path}: {answer.status_code} {answer.text[:300]}")
        found: Json = answer.json()
        return found

    def again(self, method: str, path: str, **fields: Any) -> httpx.Response:
        """Ask what does no harm twice, until there is an answer."""
        deadline = time.monotonic() + STUCK_SECONDS
        while time.monotonic() < deadline:
            try:
                return self.once(method, path, **fields)
            except Unanswered:
                time.sleep(self.chance.uniform(0.1, 0.5))
        raise Wrong(f"{method} {path} was not answered for {STUCK_SECONDS:g} s")

    def post(self, path: str, body: Json, found: Callable[[], Json | None] = lambda: None) -> Json:
        """Have something made; ``found`` looks whether an earlier request that was not answered has made it."""
        deadline = time.monotonic() + STUCK_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = self.once("POST", path, json=body)
            except Unanswered:
                if (there := found()) is not None:
                    return there
                time.sleep(self.chance.uniform(0.1, 0.5))
                continue
            if answer.status_code != 200:
                raise Wrong(f"POST {path}: {answer.status_code} {answer.text[:300]}")
            made: Json = answer.json()
            return made
        raise Wrong(f"POST {path} was not answered for {STUCK_SECONDS:g} s")

    # --- what several of them do ---

    def say(self, thread: str, text: str) -> None:
        """Add a message, once."""

        def there() -> Json | None:
            return next((each for each in self.messages(thread) if text_in(each) == text), None)

        self.post(f"/threads/{thread}/messages", {"role": "user", "content": text}, there)

    def run(self, thread: str, assistant: str, mark: str, **fields: Any) -> str:
        """Begin a run, once; its path."""

        def there() -> Json | None:
            runs = self.get(f"/threads/{thread}/runs")["data"]
            return next((each for each in runs if each["metadata"] == {"mark": mark}), None)

        body = {"assistant_id": assistant, "metadata": {"mark": mark}, **fields}
        return f"/threads/{thread}/runs/{self.post(f'/threads/{thread}/runs', body, there)['id']}"

    def messages(self, thread: str) -> list[Json]:
        found: list[Json] = self.get(f"/threads/{thread}/messages", order="asc", limit=100)["data"]
        return found

    def ended(self, run: str, *others: str) -> Json:
        """The run once it has ended, or is in one of the other states."""
        deadline = time.monotonic() + STUCK_SECONDS
        while time.monotonic() < deadline:
            if (now := self.get(run))["status"] in ENDS | set(others):
                return now
            time.sleep(0.2)
        raise Wrong(f"stuck: {run} is {now['status']} after {STUCK_SECONDS:g} s")

    def assistant(self, **fields: Any) -> str:
        made: str = self.post("/assistants", {"model": "gpt-4o", **fields})["id"]
        return made


def converse(program: Program) -> None:
    """A few turns, each seen to its end."""
    assistant, thread = program.assistant(), program.post("/threads", {})["id"]
    expected: list[str] = []
    for number in range(program.chance.randint(1, 3)):
        text = f"word {uuid.uuid4().hex} {'and so on ' * program.chance.randint(0, 20)}".strip()
        program.say(thread, text)
        run = program.run(thread, assistant, str(number))
        completed(program, run)
        expected += [text, f"You said: {text}"]
        check_run(program, run, ["message_creation"])
    in_the_end(program, thread, expected)


def stream(program: Program) -> None:
    """A run that is read as it is written; where that breaks off, its end is waited for."""
    text = f"stream {uuid.uuid4().hex} " + "on and on " * 10
    thread = program.post("/threads", {"messages": [{"role": "user", "content": text}]})["id"]
    assistant = program.assistant()
    heard = ""
    try:
        heard, whole = listen(program, f"/threads/{thread}/runs", {"assistant_id": assistant})
    except (httpx.HTTPError, Unanswered):
        whole = False
    runs = program.get(f"/threads/{thread}/runs")["data"]
    if not runs:  # Nobody had begun it.
        program.run(thread, assistant, "again")
        runs = program.get(f"/threads/{thread}/runs")["data"]
    if len(runs) != 1:
        raise Wrong(f"{thread} has {len(runs)} runs")
    completed(program, f"/threads/{thread}/runs/{runs[0]['id']}")
    if whole and heard != f"You said: {text}":
        raise Wrong(f"heard {heard!r} in {thread}")
    in_the_end(program, thread, [text, f"You said: {text}"])


def listen(program: Program, path: str, body: Json) -> tuple[str, bool]:
    """What the deltas of a streamed run say together, and whether its end was heard."""
    heard = ""
    with program.streamed(path, body | {"stream": True}) as answer:
        if answer.status_code != 200:
            raise Unanswered
        for line in answer.iter_lines():
            data = line.removeprefix("data: ")
            if data == "[DONE]":
                return heard, True
            shown = json.loads(data) if line.startswith("data: ") else {}
            if shown.get("object") == "thread.message" and shown["status"] == "in_progress":
                heard = ""  # Told anew, by another worker for one.
            elif shown.get("object") == "thread.message.delta":
                heard += "".join(part["text"]["value"] for part in shown["delta"]["content"])
    return heard, False


def call(program: Program) -> None:
    """A run that asks for a tool of the program's."""
    word, said = uuid.uuid4().hex, f"value {uuid.uuid4().hex}"
    text = f"ask {word}"
    thread = program.post("/threads", {"messages": [{"role": "user", "content": text}]})["id"]
    run = program.run(thread, program.assistant(tools=[LOOKUP]), "call")
    while (now := program.ended(run, "requires_action"))["status"] == "requires_action":
        (asked,) = now["required_action"]["submit_tool_outputs"]["tool_calls"]
        if json.loads(asked["function"]["arguments"]) != {"word": word}:
            raise Wrong(f"{run} asks for {asked}")
        outputs = [{"tool_call_id": asked["id"], "output": said}]
        try:
            answer = program.once("POST", f"{run}/submit_tool_outputs", json={"tool_outputs": outputs})
        except Unanswered:
            time.sleep(0.3)
            continue
        if answer.status_code != 200 and program.get(run)["status"] == "requires_action":
            raise Wrong(f"{run} takes no outputs: {answer.text[:300]}")
    completed(program, run)
    check_run(program, run, ["tool_calls", "message_creation"])
    in_the_end(program, thread, [text, f"The tool said: {said}"])


def cancel(program: Program) -> None:
    """A run that is cancelled while it works; its thread is free afterwards."""
    text = "stop me " + "please " * 100
    thread = program.post("/threads", {"messages": [{"role": "user", "content": text}]})["id"]
    assistant = program.assistant()
    run = program.run(thread, assistant, "cancel")
    time.sleep(program.chance.uniform(0, 2))
    program.again("POST", f"{run}/cancel")
    if (end := program.ended(run))["status"] not in ("cancelled", "completed"):
        raise Wrong(f"{run} ended as {end['status']}: {end['last_error']}")
    program.say(thread, "again")
    completed(program, program.run(thread, assistant, "next"))


def vanish(program: Program) -> None:
    """A thread that is deleted under its run."""
    thread = program.post("/threads", {"messages": [{"role": "user", "content": "gone " * 50}]})["id"]
    program.run(thread, program.assistant(), "gone")
    time.sleep(program.chance.uniform(0, 1))
    program.again("DELETE", f"/threads/{thread}")

    def check(program: Program) -> str:
        answer = program.again("GET", f"/threads/{thread}")
        return "" if answer.status_code == 404 else f"{thread} was deleted, and answers {answer.status_code}"

    program.ledger.expect(check)


def read(program: Program) -> None:
    """A file, kept and read into a store, and found by a word of its own."""
    word = uuid.uuid4().hex
    text = " ".join(f"{word} stands in line {number}." for number in range(program.chance.randint(50, 2000)))
    upload = {"file": ("notes.txt", text.encode()), "purpose": (None, "assistants")}
    answer = program.again("POST", "/files", files=upload)
    if answer.status_code != 200:
        raise Wrong(f"POST /files: {answer.text[:300]}")
    file = answer.json()["id"]

    def check(program: Program) -> str:
        content = program.again("GET", f"/files/{file}/content")
        return "" if content.text == text else f"{file} is not what it was ({content.status_code})"

    program.ledger.expect(check)
    store = program.post("/vector_stores", {"file_ids": [file]})["id"]
    deadline = time.monotonic() + STUCK_SECONDS
    while (now := program.get(f"/vector_stores/{store}"))["status"] != "completed":
        if time.monotonic() > deadline:
            raise Wrong(f"stuck: {store} {now['file_counts']}")
        time.sleep(0.3)
    if now["file_counts"]["completed"] != 1:
        raise Wrong(f"{store}: {now['file_counts']}")

    def found(program: Program) -> str:
        answer = program.again("POST", f"/vector_stores/{store}/search", json={"query": word})
        return "" if word in answer.text else f"{store} does not know {word}: {answer.text[:200]}"

    program.ledger.expect(found)


def completed(program: Program, run: str) -> None:
    if (end := program.ended(run))["status"] != "completed":
        raise Wrong(f"{run} ended as {end['status']}: {end['last_error']}")


def check_run(program: Program, run: str, kinds: list[str]) -> None:
    """The steps of a run: these, each once, all completed."""
    steps = program.get(f"{run}/steps", order="asc")["data"]
    seen = [(step["type"], step["status"]) for step in steps]
    if seen != [(kind, "completed") for kind in kinds]:
        raise Wrong(f"{run} has the steps {seen}")


def in_the_end(program: Program, thread: str, expected: list[str]) -> None:
    """Have a thread hold just these texts, now and when all is over."""

    def check(program: Program) -> str:
        texts = [text_in(message) for message in program.messages(thread)]
        return "" if texts == expected else f"{thread} says {texts} in place of {expected}"

    if fault := check(program):
        raise Wrong(fault)
    program.ledger.expect(check)


def text_in(message: Json) -> str:
    return "".join(part["text"]["value"] for part in message["content"])


PROGRAMS: list[tuple[str, Callable[[Program], None]]] = [
    ("conversation", converse),
    ("conversation", converse),
    ("stream", stream),
    ("call", call),
    ("cancel", cancel),
    ("vanish", vanish),
    ("read", read),
]
