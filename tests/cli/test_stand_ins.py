"""Names that programs have, on a server that nobody has set up."""

import re
from pathlib import Path

import httpx
import pytest

from tests.postbox import until
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.weights import default_weights

NAMES = ("gpt-4o", "gpt-3.5-turbo-1106", "chatgpt-4o-latest", "o3-mini")


def embedded(http: httpx.Client) -> httpx.Response:
    return http.post("/embeddings", json={"model": "text-embedding-3-small", "input": "Hello"})


def test_names_of_the_platform_are_answered_by_the_models_in_the_box(tmp_path: Path) -> None:
    with Everloom(tmp_path, weights=default_weights().folder) as server, client_of(server) as http:
        until(lambda: any(map(re.compile("everloom: gpt-.*, chatgpt-.*answered by smollm2-135m").match, server.output)))
        for name in NAMES:
            assert http.get(f"/models/{name}").status_code == 200
            assert http.post("/assistants", json={"model": name}).json()["model"] == name
        answer = http.post(
            "/chat/completions",
            json={"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3},
            timeout=60,
        )
        assert answer.status_code == 200
        assert embedded(http).status_code == 200
        spoken = http.post("/audio/speech", json={"model": "tts-1", "input": "Hi", "voice": "alloy"})
        assert spoken.status_code == 200
        heard = http.post(
            "/audio/transcriptions", data={"model": "whisper-1"}, files={"file": ("a.mp3", spoken.content)}
        )
        assert heard.status_code == 200
        assert http.post("/images/generations", json={"model": "dall-e-3", "prompt": "An otter"}).status_code == 404
        assert http.post("/assistants", json={"model": "my-own"}).status_code == 400


@pytest.mark.parametrize("how", ["setting", "table"])
def test_they_are_refused_where_the_settings_say_so(tmp_path: Path, upstream: ScriptedUpstream, how: str) -> None:
    file = tmp_path / "settings.toml"
    table = f'[[models]]\nid = "theirs"\nbackend = "upstream"\nbase_url = "{upstream.url}"\n'
    file.write_text(table if how == "table" else "stand_ins = false\n")
    with Everloom(tmp_path, arguments=("--config", str(file))) as server, client_of(server) as http:
        assert not any("answered by" in line for line in server.output)
        for name in NAMES:
            assert http.post("/assistants", json={"model": name}).status_code == 400
        assert embedded(http).status_code == 404
