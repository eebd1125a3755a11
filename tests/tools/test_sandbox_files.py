"""Files that code makes in order to harm whoever takes them out."""

import asyncio
from collections.abc import Iterator

import pytest

from everloom.sandbox.base import SandboxFull, SandboxLimits
from tests.bubblewrap import Bench, bench

MB = 1 << 20
LIMITS = SandboxLimits(disk=16 * MB, file=8 * MB, made=5, entries=300)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("data"), LIMITS) as found:
        found.run("import os")
        yield found


def test_files_without_content_are_taken_out_as_far_as_a_sandbox_may_hold(box: Bench) -> None:
    told = box.logs("for n in range(9):\n    with open(f'{n}.bin', 'wb') as file: file.truncate(7 << 20)", "sparse")
    assert told.startswith("[7 files more were written; they are not kept")
    assert {path: len(data) for path, data in box.changed("sparse").items()} == {
        "/mnt/data/0.bin": 7 * MB,
        "/mnt/data/1.bin": 7 * MB,
    }
    assert box.changed("sparse") == {}


def test_a_file_of_many_names_is_many_files(box: Bench) -> None:
    told = box.logs("import os\nopen('a', 'w').write('a')\nfor n in range(100): os.link('a', f'b{n}')", "links")
    assert told.endswith(
        "[96 files more were written; they are not kept: there are too many, or together they are too large.]\n"
    )
    assert len(box.changed("links")) == LIMITS.made


def test_files_that_grow_while_they_are_read_end(box: Bench) -> None:
    box.run("for n in range(5): open(f'{n}', 'w').write('x')", "grows")

    async def reading() -> int:
        async with box.sandboxes.session("grows") as session:
            made = await session.changed()
            async for _ in session.run(
                "for n in range(5): os.truncate(f'{n}', 8 << 20)".replace("os.", "__import__('os').")
            ):
                pass
            return sum([len(block) for one in made async for block in session.read(one.path)])

    assert box.do(reading()) <= LIMITS.disk


def test_a_look_ends_though_files_are_carried_before_it(box: Bench) -> None:
    box.run(
        "import os, threading\nos.mkdir('full')\nfor n in range(100): open(f'full/{n}', 'w').close()\n"
        "for n in range(150): os.mkdir(f'd{n}')\n"
        "def carry():\n    at = 'full'\n    while True:\n"
        "        for n in range(150):\n            os.rename(at, f'd{n}/x'); at = f'd{n}/x'\n"
        "threading.Thread(target=carry, daemon=True).start()",
        "carries",
    )

    async def looking() -> int:
        async with box.sandboxes.session("carries") as session:
            assert session.place is not None
            return len(await session.place.files.look())

    assert box.do(asyncio.wait_for(looking(), 10)) <= LIMITS.entries


@pytest.mark.parametrize(
    "spoil",
    ["os.mkdir('taken.txt')", "open('taken.txt/x', 'w') if os.mkdir('taken.txt') else open('taken.txt/x', 'w')"],
    ids=["folder", "full folder"],
)
def test_what_stands_in_a_files_place_is_a_reason_to_leave_it_out(box: Bench, spoil: str) -> None:
    key = spoil[:20]
    assert box.put("taken.txt", b"1", key, "file-t") == "/mnt/data/taken.txt"
    box.run(f"import os; os.unlink('taken.txt'); {spoil}", key)
    with pytest.raises(SandboxFull, match="cannot be put into the sandbox"):
        box.put("taken.txt", b"2", key, "file-t")


def test_a_name_that_is_no_text_is_not_told(box: Bench) -> None:
    box.run(r"import os; open(b'\xff\xfe', 'w').close(); open('a\nb', 'w').close()", "names")
    assert list(box.changed("names")) == ["/mnt/data/a\nb"]
