"""deploy/Dockerfile and compose.yaml, as far as they can be tried where no Docker runs: the sources that are copied are
all that an install needs, and the commands and settings of the services make servers that answer together.
"""

import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import yaml

from tests.builders import a_run
from tests.postgres import fresh_database
from tests.scripted import Says, ScriptedUpstream
from tests.servers import ADMIN_KEY, API_KEY, ROOT, Everloom, http

DEPLOY = ROOT / "deploy"


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def test_what_the_image_copies_is_all_that_an_install_needs(tmp_path: Path) -> None:
    """Its line of pip's, in an environment of its own; without the dependencies, which every install has alike."""
    kept = [line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"]
    for line in of("COPY"):
        *sources, target = line.split()
        for source in sources:
            assert any(fnmatch.fnmatch(source, pattern) for pattern in kept), f"{source} is ignored"
            place = tmp_path / target.strip("/")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.mkdir(exist_ok=True)
                shutil.copy(ROOT / source, place)
    venv.create(tmp_path / "venv", with_pip=True)
    (command,) = [line for line in of("RUN") if line.startswith("pip ")]
    words = command.replace(" /source", f" {tmp_path / 'source'}").replace("install", "install --no-deps").split()
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", *words], check=True, capture_output=True, timeout=300)
    asked = "import everloom, importlib.metadata as m; print(everloom.__path__[0], m.version('everloom'))"
    done = subprocess.run(
        [python, "-I", "-c", asked], check=True, capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    place, _ = done.stdout.split()
    there = {path.relative_to(place) for path in Path(place).rglob("*") if path.suffix not in (".pyc", "")}
    ours = {path.relative_to(ROOT / "src" / "everloom") for path in (ROOT / "src" / "everloom").rglob("*")}
    assert {path for path in ours if path.suffix not in (".pyc", "")} == there


def test_its_lines_are_such_as_a_shell_and_docker_read() -> None:
    known = {"FROM", "COPY", "RUN", "USER", "ENV", "WORKDIR", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in instructions()} <= known
    for command in of("RUN"):
        subprocess.run(["sh", "-n", "-c", command], check=True)
    assert [yaml.safe_load(rest) for word in ("ENTRYPOINT", "CMD") for rest in of(word)] == [["everloom"], ["serve"]]


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert set(found) == {"x-everloom", "services", "volumes"}
    for name, service in found["services"].items():
        for mount in service["volumes"]:
            assert mount.partition(":")[0] in found["volumes"], name
        assert set(service.get("depends_on", ())) <= set(found["services"]), name
        if "build" in service:
            build = service["build"]
            context = (DEPLOY / build["context"]).resolve()
            assert (context / build["dockerfile"]).is_file(), name
    return dict(found["services"])


def test_the_services_answer_together(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    """Server and worker by their commands and settings; the addresses and the keys alone are put in."""
    found = services()
    assert re.fullmatch(r"127\.0\.0\.1:8080:8080", found["server"]["ports"][0])
    given = {"API_KEY": API_KEY, "ADMIN_KEY": ADMIN_KEY, "UPSTREAM": upstream.url, "UPSTREAM_KEY": "sk-up"}
    known = {f"EVERLOOM_{name}": value for name, value in given.items()} | {"POSTGRES_PASSWORD": "hush"}
    database = fresh_database()

    def running(name: str) -> Everloom:
        command, *arguments = found[name]["command"]
        settings = {}
        for variable, value in found[name]["environment"].items():
            filled = re.sub(r"\$\{(\w+):[?-]\}", lambda match: known[match[1]], value)
            assert "$" not in filled
            settings[variable.removeprefix("EVERLOOM_").lower()] = filled
        assert settings["database"] == "postgresql://everloom:hush@postgres:5432/everloom"
        postgres = found["postgres"]["environment"]
        assert (postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]) == ("everloom", "everloom")
        settings |= {"database": database, "fetch_weights": "false"}
        return Everloom(tmp_path, command=command, arguments=tuple(arguments), **settings)

    with running("server") as server, running("worker"), http(server) as client:
        upstream.script(Says("From the worker."))
        run = a_run(client)
        path = f"/threads/{run['thread_id']}/runs/{run['id']}"
        while (run := client.get(path, params={"wait": 10}).json())["status"] in ("queued", "in_progress"):
            pass
        assert run["status"] == "completed"
    (check,) = of("HEALTHCHECK")
    program = yaml.safe_load(check.partition("CMD ")[2])
    with running("server") as server:
        alive = program[2].replace("http://127.0.0.1:8080", server.url.removesuffix("/v1"))
        subprocess.run([sys.executable, "-c", alive], check=True, timeout=60)
    assert shlex.join(found["postgres"]["healthcheck"]["test"]) == "CMD pg_isready --username everloom"
