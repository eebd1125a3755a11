"""``everloom chat``: by a pipe and at a terminal, against a running server and one of its own."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.programs import Program, environment, everloom, running
from tests.replies import Json, text_of
from tests.scripted import Calls, Hangs, Reply, Says, ScriptedUpstream

PATIENCE = 60
KEY = "sk-chat-test-key-0123456789"


class Server:
    """A running server and its upstream."""

    def __init__(self, folder: Path, upstream: ScriptedUpstream, program: Program, url: str) -> None:
        self.folder = folder
        self.program = program
        self.upstream = upstream
        self.url = url

    def ask(self, method: str, path: str, body: Json | None = None) -> Json:
        """What the API answers."""
        headers = {"authorization": f"Bearer {KEY}", "openai-beta": "assistants=v2"}
        answer = httpx.request(method, self.url + path, headers=headers, json=body, timeout=PATIENCE)
        found: Json = answer.raise_for_status().json()
        return found

    def pipe(self, text: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """What comes of questions by a pipe."""
        command = [sys.executable, "-m", "everloom", "chat", "--url", self.url, "--key", KEY, *arguments]
        settings = environment(self.folder)
        return subprocess.run(
            command, cwd=self.folder, env=settings, input=text, capture_output=True, text=True, check=False, timeout=120
        )

    @contextmanager
    def terminal(self, *arguments: str) -> Iterator["Terminal"]:
        """The command at a terminal."""
        master, slave = pty.openpty()
        command = [sys.executable, "-m", "everloom", "chat", "--url", self.url, "--key", KEY, *arguments]
        settings = environment(self.folder) | {"TERM": "xterm", "NO_COLOR": "1"}
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=settings,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            # Tests that run in the background of a shell have it ignored, and hand that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        os.close(slave)
        try:
            yield Terminal(master, process)
        finally:
            process.kill()
            process.wait()
            os.close(master)


class Terminal:
    """What somebody sees and types."""

    def __init__(self, master: int, process: "subprocess.Popen[bytes]") -> None:
        self._master = master
        self._seen = ""
        self.process = process

    def until(self, text: str) -> str:
        """What is shown up to this text, from what was asked for last on."""
        while text not in self._seen:
            ready, _, _ = select.select([self._master], [], [], PATIENCE)
            assert ready, f"no {text!r} in {self._seen!r}"
            try:
                self._seen += os.read(self._master, 65536).decode("utf-8", "replace")
            except OSError as error:  # Linux's word for a terminal that nobody holds any more.
                raise AssertionError(f"no {text!r} in {self._seen!r}") from error
        before, _, self._seen = self._seen.partition(text)
        return before

    def type(self, line: str) -> None:
        os.write(self._master, line.encode() + b"\n")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with ScriptedUpstream() as upstream:
        settings = {"upstream": upstream.url, "api_key": KEY, "embedding_model": "scripted"}
        with running(tmp_path, "serve", "--port", "0", **settings) as program:
            yield Server(tmp_path, upstream, program, program.until("everloom: ready on "))


def test_questions_by_a_pipe_are_answered_in_plain_text_and_the_thread_can_be_gone_on_with(server: Server) -> None:
    server.upstream.script(Says("It is \x1b[31mOslo\x07 [bold]now[/bold]."), Says("Rome."))
    done = server.pipe("What is the capital?\n\nAnd of Italy?\n/quit\nNever asked\n")
    assert (done.returncode, done.stdout) == (0, "It is ?[31mOslo? [bold]now[/bold].\nRome.\n")
    thread = re.findall(r"To go on: everloom chat --thread (\S+)", done.stderr)[0]
    assert len(server.upstream.requests) == 2
    server.upstream.script(Says("Paris."))
    assert server.pipe("And of France?", "--thread", thread).stdout == "Paris.\n"
    said = [text_of(message) for message in server.upstream.requests[-1].body["messages"]]
    assert said[-5:] == [
        *("What is the capital?", "It is \x1b[31mOslo\x07 [bold]now[/bold].", "And of Italy?", "Rome."),
        "And of France?",
    ]
    assert server.ask("GET", "/assistants")["data"] == []


def test_a_file_is_attached_and_cited_in_a_footnote(server: Server) -> None:
    def rule(body: Json) -> Reply:
        if body["messages"][-1]["role"] != "tool":
            return Calls(("file_search", {"query": "the code"}))
        (mark, *_) = re.findall("【[^】]*】", text_of(body["messages"][-1]))
        return Says(f"It is 8051{mark}.")

    server.upstream.rule(rule)
    (server.folder / "hand book.md").write_text("The code of the key box is 8051.\n")
    done = server.pipe("/file hand book.md\nWhat is the code?\n")
    assert done.returncode == 0
    assert done.stdout == "It is 8051[1].\n[1] hand book.md: The code of the key box is 8051.\n"


def test_what_goes_wrong_by_a_pipe_is_said_and_ends_it(server: Server) -> None:
    done = server.pipe("/file nowhere.md\nquestion\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no file nowhere.md" in done.stderr
    assert server.upstream.requests == []
    done = server.pipe("question\n", "--thread", "thread_nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "thread_nowhere" in done.stderr


def test_ctrl_c_cancels_the_answer_and_its_run(server: Server) -> None:
    server.upstream.script(Hangs(3), Says("the second answer"))
    with server.terminal() as terminal:
        terminal.until("you> ")
        terminal.type("Tell me everything")
        shown = terminal.until("two")
        thread = re.findall(r"thread_\w+", shown)[0]
        terminal.process.send_signal(signal.SIGINT)
        terminal.until("(cancelled)")
        terminal.until("you> ")
        (run,) = server.ask("GET", f"/threads/{thread}/runs")["data"]
        assert run["status"] in ("cancelling", "cancelled")
        assert server.upstream.wait(lambda: not server.upstream.active, PATIENCE)
        terminal.type("Again")
        terminal.until("the second answer")
        terminal.until("you> ")
        terminal.type("/quit")
        terminal.until(f"--thread {thread}")
        assert terminal.process.wait(PATIENCE) == 0
    assert server.ask("GET", "/assistants")["data"] == []


def test_ctrl_c_cancels_a_run_that_the_server_has_not_told_of_yet(server: Server) -> None:
    server.upstream.script(Hangs(3))
    with server.terminal() as terminal:
        terminal.until("you> ")
        terminal.type("Tell me everything")
        terminal.until("thread_")
        server.program.process.send_signal(signal.SIGSTOP)  # With the request before it, and no answer to it.
        terminal.process.send_signal(signal.SIGINT)
        thread = "thread_" + re.findall(r"\w+", terminal.until("(cancelling)"))[0]
        server.program.process.send_signal(signal.SIGCONT)
        terminal.until("(cancelled)")
        runs = server.ask("GET", f"/threads/{thread}/runs")["data"]
        assert [run["status"] for run in runs if run["status"] not in ("cancelling", "cancelled")] == []
        terminal.until("you> ")
        terminal.type("/quit")
        assert terminal.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_the_program_by_a_pipe_cancels_the_run(server: Server, number: signal.Signals) -> None:
    server.upstream.script(Hangs(3))
    command = [sys.executable, "-m", "everloom", "chat", "--url", server.url, "--key", KEY]
    settings = environment(server.folder)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=server.folder, env=settings, stdin=pipe, stdout=pipe, stderr=pipe) as chat:
        assert chat.stdin is not None
        assert chat.stdout is not None
        chat.stdin.write(b"question\n")
        chat.stdin.flush()
        told = b""
        while b"two" not in told:
            told += os.read(chat.stdout.fileno(), 4096)
        chat.send_signal(number)
        _, said = chat.communicate(timeout=PATIENCE)
    assert chat.returncode == 128 + number
    assert b"Traceback" not in said
    assert b"(cancelled)" in said
    (thread,) = set(re.findall(r"thread_\w+", said.decode()))
    (run,) = server.ask("GET", f"/threads/{thread}/runs")["data"]
    assert run["status"] in ("cancelling", "cancelled")


@pytest.mark.parametrize("key", ["sk-one\x1b[31m", "sk-one\r\nx: y", "sk-\u00e9"])
def test_a_key_that_is_none_is_told_in_a_sentence(server: Server, key: str) -> None:
    done = server.pipe("question\n", "--key", key)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "everloom: the key holds characters that no key has; was it pasted whole, and nothing else?\n"


def test_a_second_ctrl_c_leaves_whatever_the_server_does(server: Server) -> None:
    server.upstream.script(Hangs(3))
    with server.terminal() as terminal:
        terminal.until("you> ")
        terminal.type("Tell me everything")
        terminal.until("two")
        server.program.process.send_signal(signal.SIGSTOP)
        terminal.process.send_signal(signal.SIGINT)
        terminal.until("(cancelling)")
        terminal.process.send_signal(signal.SIGINT)
        terminal.until("To go on: everloom chat --thread thread_")
        assert terminal.process.wait(PATIENCE) == 130


def test_a_function_is_answered_by_hand(server: Server) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    assistant = server.ask("POST", "/assistants", {"model": "gpt-4o", "tools": [tool]})["id"]
    server.upstream.script(Calls(("weather", {"city": "Oslo"})), Says("It rains in Oslo."))
    with server.terminal("--assistant", assistant) as terminal:
        terminal.until("you> ")
        terminal.type("How is the weather?")
        assert "weather" in terminal.until("output> ")
        terminal.type("rain")
        terminal.until("It rains in Oslo.")
        terminal.until("you> ")
        terminal.type("/quit")
        terminal.until(f"--assistant {assistant} --thread ")
        assert terminal.process.wait(PATIENCE) == 0
    assert text_of(server.upstream.requests[-1].body["messages"][-1]) == "rain"
    server.upstream.script(Calls(("weather", {"city": "Oslo"})))
    done = server.pipe("And now?\n", "--assistant", assistant)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nobody is here to answer for a function" in done.stderr


def test_where_no_server_runs_one_is_started_and_its_key_goes_with_it(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.script(Says("Here I am."))
        settings = {"upstream": upstream.url, "port": "1"}
        command = [sys.executable, "-m", "everloom", "chat"]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment(tmp_path, **settings),
            input="Who is there?\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode, done.stdout) == (0, "Here I am.\n")
        assert "Admin key: " in done.stderr
    listed = everloom(tmp_path, "keys", "list").stdout
    assert "first key" in listed
    assert "everloom chat" not in listed
