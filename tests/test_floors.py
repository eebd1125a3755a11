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
    {"store", "blobs", "bus", "jobs", "mail", "models", "vectors", "sandbox", "evidence", "webhooks"},
    {"training"},
    {"context"},
    {"requests"},
    {"tools"},
    {"work"},
    {"api"},
    {"config_checks"},
    {"config"},
    {"app"},
    {"cli"},
    {"__main__"},
]
HEIGHT = {room: height for height, floor in enumerate(FLOORS) for room in floor}
PORTS = FLOORS[2] | FLOORS[3]
ON_ADAPTERS = {"training"}
"""Ports whose own adapters stand on those of a port below: a trainer on the files and engines of models."""
STAIRS = {
    "work": [
        {"organization"},
        {"webhooks"},
        {"usage"},
        {"files"},
        {"inference"},
        {"batches", "fine_tuning"},
        {"vector_stores"},
        {"threads"},
        {"runs", "transfer"},
    ],
    "models": [
        *({"files"}, {"subprocesses"}),
        {"llama", "minilm", "speech", "transcription", "diffusers", "upstream"},
    ],
}
"""Rooms within a room, lowest first: each may import those before it, and those of one step do not know each other."""
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


def is_adapter(name: list[str]) -> bool:
    """In a port's room the files on top are its face and the folders adapters; a flat one's face is ``base.py``, with
    what that names.
    """
    if name[0] not in PORTS or len(name) < 2:
        return False
    if name[0] == "models":
        return SOURCE.joinpath(*name[:2]).is_dir()
    return name[1] not in {"base", "kinds", "migrations", "registers"}


def step(room: str, inner: str) -> int | None:
    return next((number for number, rooms in enumerate(STAIRS.get(room, ())) if inner in rooms), None)


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
def test_rooms_within_a_room_stand_on_each_other(file: Path) -> None:
    room, inner, *_ = [*parts(file), ""]
    if (own := step(room, inner)) is None:
        return
    for name in imports(file):
        if name[0] == room and name[1] != inner and (other := step(room, name[1])) is not None:
            assert other < own, f"{room}/{inner} imports {'.'.join(name)}"


@each_file
def test_only_app_and_what_stands_on_it_import_adapters(file: Path) -> None:
    room = parts(file)[0]
    if room != "__init__" and HEIGHT[room] < HEIGHT["app"]:
        if room in ON_ADAPTERS and is_adapter(parts(file)):
            return
        adapters = [name for name in imports(file) if name[0] != room and is_adapter(name)]
        assert adapters == [], f"{room} imports {adapters}"


@each_file
def test_only_config_reads_the_environment(file: Path) -> None:
    if parts(file) == ["config"]:
        return
    reads = re.findall(r"\bos\.(?:environ|getenv)\b|\bfrom os import .*(?:environ|getenv)", file.read_text())
    # A child process's entry may set what its libraries read, before it imports them.
    assert reads == [] or parts(file)[-1].endswith("child")


@each_file
def test_tags_know_neither_each_other_nor_the_machinery_them(file: Path) -> None:
    if parts(file)[0] == "api":
        tags = {found.stem for found in SOURCE.glob("api/*.py") if "@routes." in found.read_text()}
        assert [name for name in imports(file) if name[0] == "api" and name[1] in tags - set(parts(file)[1:2])] == []


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
        text = text.replace('f"v1,{_signature', "")  # The scheme of signatures of Standard Webhooks.
        assert re.findall(r"(?<![\w/])v1(?!\w)|assistants=v1", text) == []


def test_every_room_has_a_floor() -> None:
    rooms = {parts(file)[0] for file in FILES} - {"__init__"}
    assert rooms <= set(HEIGHT)


def test_a_public_class_name_means_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(file.relative_to(SOURCE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


GROWS = {"list", "dict", "set", "deque", "defaultdict", "OrderedDict", "WeakValueDictionary", "Queue", "Semaphore"}


@each_file
def test_modules_hold_no_state(file: Path) -> None:
    for node in ast.parse(file.read_text()).body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.List | ast.Dict | ast.Set):
            assert ast.unparse(value) not in ("[]", "{}"), f"line {node.lineno}"
        if isinstance(value, ast.Call) and not value.args:
            assert ast.unparse(value.func).rpartition(".")[2] not in GROWS, f"line {node.lineno}"
