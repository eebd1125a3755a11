"""``everloom models`` as a person types it, against a hub on this machine."""

import hashlib
import json
import subprocess
import sys
import threading
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from everloom.config import load
from everloom.models.files.hub import Reference, reference
from tests.cli.programs import environment, everloom, running
from tests.models.gguf_tiny import tiny_gguf
from tests.weights import default_gguf

MODEL = tiny_gguf(tail=300_000)
RESOLVE = "/maker/Tiny-GGUF/resolve/main/"


class HubServer:
    """Answers for files as a hub does, with ranges; ``cut`` ends the first so many answers in the middle."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {RESOLVE + "Tiny-Q4.gguf": MODEL}
        self.listed: list[str] = []
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.cut = 0
        self.sha256: str | None = None
        self.key: str | None = None
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, call: BaseHTTPRequestHandler) -> None:
        ranged, key = call.headers.get("range"), call.headers.get("authorization")
        self.asked.append((call.path, ranged, key))
        if self.key is not None and key != f"Bearer {self.key}":
            self.send(call, 401, b"")
        elif call.path.startswith("/api/models/"):
            self.send(call, 200, json.dumps({"siblings": [{"rfilename": name} for name in self.listed]}).encode())
        elif call.path not in self.files:
            self.send(call, 404, b"")
        else:
            data = self.files[call.path]
            tag = '"' + (self.sha256 or hashlib.sha256(data).hexdigest()) + '"'
            start = int(ranged.removeprefix("bytes=").rstrip("-")) if ranged else 0
            if call.headers.get("if-range") not in (None, tag):
                start = 0
            headers = {"etag": tag}
            if start:
                headers["content-range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.send(call, 206 if start else 200, data[start:], **headers)

    def send(self, call: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
        call.send_response(status)
        for name, value in headers.items():
            call.send_header(name, value)
        call.send_header("content-length", str(len(body)))
        call.end_headers()
        if self.cut and body:
            self.cut -= 1
            call.wfile.write(body[: len(body) // 2])
            call.close_connection = True
        else:
            call.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    hub = HubServer()
    thread = threading.Thread(target=hub.server.serve_forever)
    thread.start()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()
    thread.join()


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "mine.gguf"
    path.write_bytes(MODEL)
    return path


def added(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "data" / "models.toml"
    entries = tomllib.loads(file.read_text()).get("models", []) if file.exists() else []
    return {entry["id"]: entry["path"] for entry in entries}


def line(tmp_path: Path, id: str) -> str:
    shown = everloom(tmp_path, "models", "list").stdout
    return next(line for line in shown.splitlines() if line.split()[0] == id)


def test_a_file_is_added_listed_and_removed(tmp_path: Path, gguf: Path) -> None:
    done = everloom(tmp_path, "models", "add", "mine", str(gguf))
    assert done.returncode == 0, done.stderr
    assert added(tmp_path) == {"mine": "models/mine/mine.gguf"}
    copy = tmp_path / "data" / "models" / "mine" / "mine.gguf"
    assert copy.read_bytes() == MODEL
    assert line(tmp_path, "mine").split() == ["mine", "chat", "gguf", "0", "MB", str(copy)]
    (entry,) = load({"data": tmp_path / "data"}, environ={}).models
    assert (entry.id, entry.backend, entry.path) == ("mine", "local", copy)

    again = everloom(tmp_path, "models", "add", "mine", str(gguf))
    assert (again.returncode, "there is a model mine already" in again.stderr) == (1, True)

    done = everloom(tmp_path, "models", "remove", "mine")
    assert done.stdout == "Removed mine and its files\n"
    assert not copy.parent.exists()
    assert gguf.read_bytes() == MODEL
    assert added(tmp_path) == {}


def test_a_linked_model_stays_where_it_is(tmp_path: Path, gguf: Path) -> None:
    everloom(tmp_path, "models", "add", "mine", "mine.gguf", "--link")
    assert added(tmp_path) == {"mine": str(gguf)}
    done = everloom(tmp_path, "models", "remove", "mine")
    assert f"its files stay at {gguf}" in done.stdout
    assert gguf.exists()


def test_every_format_is_taken_whole(tmp_path: Path) -> None:
    (tmp_path / "voice.onnx").write_bytes(b"x")
    (tmp_path / "voice.onnx.json").write_bytes(b"{}")
    for folder, names in {
        "ears": ["model.bin", "config.json"],
        "sd": ["model_index.json", "unet/a.safetensors"],
    }.items():
        for name in names:
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_bytes(b"{}")
    for part in (1, 2):
        (tmp_path / f"big-{part:05d}-of-00002.gguf").write_bytes(MODEL)
    sources = {"voice": "voice.onnx", "ears": "ears", "sd": "sd", "big": "big-00001-of-00002.gguf"}
    for id, source in sources.items():
        assert everloom(tmp_path, "models", "add", id, source).returncode == 0
    models = tmp_path / "data" / "models"
    assert (models / "voice" / "voice.onnx.json").is_file()
    assert (models / "sd" / "unet" / "a.safetensors").is_file()
    assert len(list((models / "big").iterdir())) == 2
    does = {id: line(tmp_path, id).split()[1] for id in sources}
    assert does == {"voice": "speech", "ears": "transcription", "sd": "images", "big": "chat"}


@pytest.mark.parametrize(
    ("id", "content", "says"),
    [
        ("mine", None, "does not exist"),
        ("mine", b"not a model", "is not a GGUF model file"),
        ("mine", MODEL[:60], "ends too early"),
        ("../mine", MODEL, "is no id for a model"),
        ("gpt-*", MODEL, "is no id for a model"),
        ("smollm2-135m", MODEL, "there is a model smollm2-135m already"),
    ],
)
def test_what_is_no_model_is_not_added(tmp_path: Path, id: str, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "mine.gguf").write_bytes(content)
    done = everloom(tmp_path, "models", "add", id, "mine.gguf")
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert added(tmp_path) == {}


def test_a_copy_that_broke_off_is_not_added(tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(default_gguf().read_bytes()[:5_000_000])
    done = everloom(tmp_path, "models", "add", "mine", "mine.gguf")
    assert done.returncode == 1
    assert "mine.gguf is damaged: it ends before its tensors do" in done.stderr
    assert added(tmp_path) == {}


def test_memory_is_asked_first_and_force_does_not_ask(tmp_path: Path, gguf: Path) -> None:
    done = everloom(tmp_path, "models", "add", "mine", str(gguf), local_memory="1000000")
    assert done.returncode == 1
    assert "mine takes about 70 MB of memory, and local models may have 1 MB here" in done.stderr
    done = everloom(tmp_path, "models", "add", "mine", str(gguf), "--force", local_memory="1000000")
    assert done.returncode == 0


def test_the_settings_file_wins(tmp_path: Path, gguf: Path) -> None:
    everloom(tmp_path, "models", "add", "mine", str(gguf))
    other = tmp_path / "other.gguf"
    other.write_bytes(MODEL)
    (tmp_path / "everloom.toml").write_text('[[models]]\nid="mine"\nbackend="local"\npath="other.gguf"\n')
    assert line(tmp_path, "mine").endswith(str(other))


def test_a_broken_list_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "models.toml").write_text("[[models]\n")
    done = everloom(tmp_path, "models", "list")
    assert done.returncode == 2
    assert "models.toml: not a TOML file" in done.stderr


def test_two_adds_at_once_keep_both(tmp_path: Path, gguf: Path) -> None:
    command = [sys.executable, "-m", "everloom", "models", "add"]
    started = [
        subprocess.Popen([*command, name, str(gguf)], cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE)
        for name in ("one", "two", "three")
    ]
    for process in started:
        process.communicate()
    assert sorted(added(tmp_path)) == ["one", "three", "two"]


def test_a_model_comes_from_a_hub(tmp_path: Path, hub: HubServer) -> None:
    done = everloom(tmp_path, "models", "pull", "hf:maker/Tiny-GGUF/Tiny-Q4.gguf", hub=hub.url)
    assert done.returncode == 0, done.stderr
    assert added(tmp_path) == {"tiny-q4": "models/tiny-q4/Tiny-Q4.gguf"}
    assert (tmp_path / "data" / "models" / "tiny-q4" / "Tiny-Q4.gguf").read_bytes() == MODEL
    assert sorted(path.name for path in (tmp_path / "data" / "models").iterdir()) == ["tiny-q4"]
    assert "Tiny-Q4.gguf" in done.stderr  # the bar


def test_a_download_that_breaks_goes_on_where_it_stopped(tmp_path: Path, hub: HubServer) -> None:
    hub.cut = 2
    done = everloom(tmp_path, "models", "add", "tiny", "hf:maker/Tiny-GGUF@main/Tiny-Q4.gguf", hub=hub.url)
    assert done.returncode == 0, done.stderr
    half = len(MODEL) // 2
    assert [ranged for _, ranged, _ in hub.asked] == [
        None,
        f"bytes={half}-",
        f"bytes={half + (len(MODEL) - half) // 2}-",
    ]
    assert (tmp_path / "data" / "models" / "tiny" / "Tiny-Q4.gguf").read_bytes() == MODEL


def test_another_command_goes_on_and_a_changed_file_begins_anew(tmp_path: Path, hub: HubServer) -> None:
    command = ["models", "add", "tiny", "hf:maker/Tiny-GGUF/Tiny-Q4.gguf"]
    hub.cut = 100
    first = subprocess.Popen(
        [sys.executable, "-m", "everloom", *command],
        cwd=tmp_path,
        env=environment(tmp_path, hub=hub.url),
        stderr=subprocess.DEVNULL,
    )
    while len(hub.asked) < 3:
        assert first.poll() is None
    first.kill()
    first.wait()
    changed = tiny_gguf(tail=400_000)
    hub.files[RESOLVE + "Tiny-Q4.gguf"] = changed
    hub.cut = 0
    done = everloom(tmp_path, *command, hub=hub.url)
    assert done.returncode == 0, done.stderr
    assert hub.asked[-1][1] is not None
    assert (tmp_path / "data" / "models" / "tiny" / "Tiny-Q4.gguf").read_bytes() == changed


def test_a_wrong_sha256_is_refused_and_nothing_kept(tmp_path: Path, hub: HubServer) -> None:
    hub.sha256 = "0" * 64
    done = everloom(tmp_path, "models", "pull", "hf:maker/Tiny-GGUF/Tiny-Q4.gguf", hub=hub.url)
    assert done.returncode == 1
    assert "has the wrong sha256" in done.stderr
    assert [path for path in (tmp_path / "data" / "models").rglob("*") if path.suffix == ".part"] == []
    assert added(tmp_path) == {}


def test_what_a_hub_does_not_have_or_keeps_is_told(tmp_path: Path, hub: HubServer) -> None:
    done = everloom(tmp_path, "models", "pull", "hf:maker/Tiny-GGUF/other.gguf", hub=hub.url)
    assert (done.returncode, "the hub answers 404" in done.stderr) == (1, True)
    hub.key = "secret"
    done = everloom(tmp_path, "models", "pull", "hf:maker/Tiny-GGUF/Tiny-Q4.gguf", hub=hub.url)
    assert "EVERLOOM_HUB_KEY" in done.stderr
    done = everloom(tmp_path, "models", "pull", "hf:maker/Tiny-GGUF/Tiny-Q4.gguf", hub=hub.url, hub_key="secret")
    assert done.returncode == 0, done.stderr


def test_a_file_that_is_no_model_is_told_and_thrown_away(tmp_path: Path, hub: HubServer) -> None:
    hub.files[RESOLVE + "page.gguf"] = b"<html>"
    done = everloom(tmp_path, "models", "pull", "hf:maker/Tiny-GGUF/page.gguf", hub=hub.url)
    assert (done.returncode, "is not a GGUF model file" in done.stderr) == (1, True)
    assert list((tmp_path / "data" / "models").rglob("*.gguf")) == []


def test_a_folder_comes_from_a_hub_without_what_is_not_needed(tmp_path: Path, hub: HubServer) -> None:
    hub.listed = ["model_index.json", "README.md", "all.safetensors", "../evil", "/etc/evil"]
    hub.listed += ["unet/model.safetensors", "unet/model.bin", "unet/model.fp16.safetensors", "unet/config.json"]
    for name in hub.listed:
        hub.files[f"/maker/sd/resolve/main/{name}"] = b"{}"
    done = everloom(tmp_path, "models", "add", "sd", "hf:maker/sd", hub=hub.url)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "data" / "models" / "sd"
    kept = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert kept == ["model_index.json", "unet/config.json", "unet/model.safetensors"]


def test_a_repository_of_many_files_names_them(tmp_path: Path, hub: HubServer) -> None:
    hub.listed = ["a.gguf", "b.gguf", "README.md"]
    done = everloom(tmp_path, "models", "pull", "hf:maker/Tiny-GGUF", hub=hub.url)
    assert done.returncode == 1
    assert "hf:maker/Tiny-GGUF/a.gguf, hf:maker/Tiny-GGUF/b.gguf" in done.stderr


def test_references() -> None:
    assert reference("/a/path.gguf") is None
    assert reference("hf:o/r/f/a.gguf") == Reference(owner="o", repository="r", file="f/a.gguf")
    assert reference("hf:o/r@v2/a.gguf") == Reference(owner="o", repository="r", revision="v2", file="a.gguf")
    for wrong in ("hf:", "hf:o", "hf:o/r/../x", "hf:o/r/a?b", "hf:/r/a"):
        with pytest.raises(ValueError, match="hf:OWNER/REPOSITORY/FILE"):
            reference(wrong)


def test_remove_says_where_else_a_model_comes_from(tmp_path: Path, gguf: Path) -> None:
    (tmp_path / "everloom.toml").write_text('[[models]]\nid="mine"\nbackend="local"\npath="mine.gguf"\n')
    assert "settings file" in everloom(tmp_path, "models", "remove", "mine").stderr
    assert "default model" in everloom(tmp_path, "models", "remove", "smollm2-135m").stderr
    assert "no model other" in everloom(tmp_path, "models", "remove", "other").stderr


def test_a_server_answers_with_what_was_added_and_starts_without_what_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone.gguf"
    gone.write_bytes(MODEL)
    everloom(tmp_path, "models", "add", "gone", str(gone), "--link")
    everloom(tmp_path, "models", "add", "mine", str(default_gguf()), "--link")
    gone.unlink()
    key = "sk-of-this-test-0123456789"
    with running(tmp_path, "serve", "--port", "0", api_key=key) as server:
        url = server.until("everloom: ready on ")

        def ask(model: str) -> tuple[int, str]:
            body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
            headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode(), headers)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        status, said = ask("mine")
        assert status == 200, said
        assert json.loads(said)["model"] == "mine"
        status, said = ask("gone")
        assert status == 503
        assert f"The model `gone` cannot be used: {gone} does not exist" in said
