"""The floors of the house (ARCHITECTURE.md): who may import whom, how long things may be, where "v1" may stand."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "everloom"
FLOORS = [
    {"kit"},
    {"objects"},
    {"store", "blobs", "bus", "jobs", "models", "vectors"},
    {"context"},
    {"tools"},
    {"work"},
    {"api"},
    {"config"},
    {"app"},
    {"cli"},
    {"__main__"},
]
HEIGHT = {room: height for height, floor in enumerate(FLOORS) for room in floor}
PORTS = {"store", "blobs", "bus", "jobs", "models", "vectors"}
OPEN = {
    *("base", "completion_text", "formats", "gguf", "hub", "kinds", "ledger", "memory", "migrations"),
    *("registry", "tokens", "turns", "weights"),
}
"""The modules of a port's room that everyone above may import; the others are adapters."""
FILES = sorted(SOURCE.rglob("*.py"))


def parts(file: Path) -> list[str]:
    return [*file.relative_to(SOURCE).parent.parts, file.stem]


def imports(file: Path) -> Iterator[list[str]]:
    """Each import of ours in a file, as the parts of the module's name behind ``everloom``."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            whole = node.module or ""
            names = [f"{whole}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("everloom.") and name != "everloom.__version__":
                yield name.split(".")[1:]


def is_module(name: list[str]) -> bool:
    path = SOURCE.joinpath(*name[:2])
    return len(name) > 1 and (path.is_dir() or path.with_suffix(".py").is_file())


each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))


@each_file
def test_imports_point_down_and_rooms_stay_apart(file: Path) -> None:
    room = parts(file)[0]
    if room == "__init__":
        assert list(imports(file)) == []
        return
    for name in imports(file):
        if name[0] != room:
            assert HEIGHT[name[0]] < HEIGHT[room], f"{room} imports {'.'.join(name)}"


@each_file
def test_only_app_imports_adapters(file: Path) -> None:
    room = parts(file)[0]
    adapters = [name for name in imports(file) if name[0] in PORTS - {room} and is_module(name) and name[1] not in OPEN]
    assert room == "app" or adapters == [], f"{room} imports {adapters}"


@each_file
def test_only_config_reads_the_environment(file: Path) -> None:
    if parts(file) == ["config"]:
        return
    reads = re.findall(r"\bos\.(?:environ|getenv)\b|\bfrom os import .*(?:environ|getenv)", file.read_text())
    # A child process's entry may set what its libraries read, before it imports them.
    assert reads == [] or parts(file)[-1].endswith("_child")


@each_file
def test_handlers_of_two_tags_never_import_each_other(file: Path) -> None:
    tags = {found.stem for found in SOURCE.glob("api/*.py") if "@route(" in found.read_text()} - {"v1"}
    if parts(file)[0] == "api" and file.stem in tags:
        assert [name for name in imports(file) if name[0] == "api" and name[1] in tags] == []


@each_file
def test_files_and_functions_stay_short(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 40, f"{node.name} has {length} lines"


@each_file
def test_the_old_version_is_known_in_one_place(file: Path) -> None:
    if parts(file)[:2] != ["api", "v1"]:
        text = file.read_text().replace("from everloom.api.v1 import", "")
        assert re.findall(r"(?<![\w/])v1(?!\w)|assistants=v1", text) == []


def test_every_room_has_a_floor() -> None:
    rooms = {parts(file)[0] for file in FILES} - {"__init__"}
    assert rooms <= set(HEIGHT)
