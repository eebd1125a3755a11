"""The code interpreter's sandbox as its users see it: state, outputs, files, limits that leave the state alone."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from everloom.sandbox.base import Picture, Printed, SandboxDied, SandboxFull, SandboxLimits, SandboxUnavailable
from everloom.sandbox.pool import JupyterSandboxes
from tests.bubblewrap import Bench, bench
from tests.cli.programs import everloom

LIMITS = SandboxLimits(disk=64 << 20, file=32 << 20, logs=2_000, images=2, idle_cpu=2)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("data"), LIMITS) as found:
        yield found


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process ends in time."""
    until = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    return not Path(f"/proc/{pid}").exists()


def test_state_is_kept_from_call_to_call(box: Bench) -> None:
    assert box.run("x = 20") == []
    assert box.logs("x + 22") == "42\n"


def test_output_comes_as_it_is_written(box: Bench) -> None:
    async def running() -> list[float]:
        async with box.sandboxes.session("one") as session:
            code = "import time\nfor n in range(3):\n    print(n, flush=True)\n    time.sleep(0.4)"
            return [time.monotonic() async for shown in session.run(code) if isinstance(shown, Printed)]

    times = box.do(running())
    assert len(times) == 3
    assert times[-1] - times[0] > 0.5


def test_standard_error_and_child_processes_are_logs_too(box: Bench) -> None:
    assert box.logs("import sys; print('a', file=sys.stderr)") == "a\n"
    assert "b\n" in box.logs("import subprocess; subprocess.run(['echo', 'b'])")


def test_an_error_is_a_plain_traceback(box: Bench) -> None:
    told = box.logs("def f():\n    return 1 / 0\nf()")
    assert told.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "return 1 / 0" in told
    assert "\x1b" not in told


def test_nobody_answers_a_question_of_the_code(box: Bench) -> None:
    box.fails("input('name? ')", "StdinNotImplementedError")


def test_a_plot_is_a_picture(box: Bench, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    shown = box.run("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()")
    assert [type(output) for output in shown] == [Picture]
    (tmp_path / "plot.png").write_bytes(shown[0].png)  # type: ignore[union-attr]  # an image, see above
    pillow = pytest.importorskip("PIL.Image")
    with pillow.open(tmp_path / "plot.png") as picture:
        picture.load()
        assert picture.width > 100


def test_too_many_pictures_are_left_out(box: Bench) -> None:
    pytest.importorskip("matplotlib")
    shown = box.run("for n in range(4):\n    plt.plot([n, 1])\n    plt.show()")
    assert [type(output) for output in shown] == [Picture, Picture, Printed]
    assert shown[-1] == Printed("\n[More images are not shown: there are more than 2.]\n")


def test_too_much_text_is_cut(box: Bench) -> None:
    told = box.logs("for n in range(100_000):\n    print('x' * 50)")
    assert told.startswith("x" * 50 + "\n")
    assert told.endswith("\n[The logs end here: they are longer than 2000 characters.]\n")
    assert len(told) < 2_100
    assert box.logs("'still here'") == "'still here'\n"


def test_an_output_that_is_far_too_large_costs_only_itself(box: Bench) -> None:
    told = box.logs("print('x' * 20_000_000)")
    assert told == "[Some output was lost: there was too much at once.]\n"
    assert box.logs("'next'") == "'next'\n"


def test_output_that_comes_late_is_not_lost(box: Bench) -> None:
    late = "import time\nget_ipython().kernel.iopub_thread.io_loop.add_callback(time.sleep, 3)\nprint('late')"
    assert box.logs(late) == "late\n"


def test_a_kernel_that_forgets_to_say_that_it_is_done_is_asked(box: Bench) -> None:
    forget = """
kernel = get_ipython().kernel
says = kernel._publish_status
def forget(status, *rest, **named):
    if status == "idle":
        kernel._publish_status = says
    else:
        says(status, *rest, **named)
kernel._publish_status = forget
print("told")
"""
    began = time.monotonic()
    assert box.logs(forget) == "told\n[Some output was lost: there was too much at once.]\n"
    assert time.monotonic() - began < 10, "it asks, rather than wait for the last words to the end"
    assert box.logs("'next'") == "'next'\n"


def test_a_flood_of_output_is_stopped_and_the_state_kept(tmp_path: Path) -> None:
    """With time for it: a kernel may take seconds to tell of its interrupt, behind all that it wrote."""
    with bench(tmp_path, msgspec.structs.replace(LIMITS, grace=30)) as box:
        flood = "import time\nz = 3\nwhile True: print('x' * 100_000, flush=True); time.sleep(0.001)"
        told = box.logs(flood, timeout=60)
        assert told.endswith("[The code was stopped: it wrote far too much.]\n")
        assert len(told) < 2_200
        assert box.logs("z") == "3\n"


def test_text_that_is_no_text_can_be_stored(box: Bench) -> None:
    assert box.logs(r"print('\x00', 'é')") == "\ufffd é\n"


def test_pandas_reads_an_attached_file(box: Bench) -> None:
    pytest.importorskip("pandas")
    assert box.put("sales 2024.csv", b"city,sum\nBonn,3\nKiel,4\n", file="file-1") == "/mnt/data/sales 2024.csv"
    told = box.logs("import pandas as pd\nprint(pd.read_csv('/mnt/data/sales 2024.csv')['sum'].sum())")
    assert told == "7\n"


def test_files_of_one_name_stand_beside_each_other(box: Bench) -> None:
    assert box.put("same.txt", b"first", file="file-a") == "/mnt/data/same.txt"
    assert box.put("same.txt", b"second", file="file-b") == "/mnt/data/same-2.txt"
    assert box.put("same.txt", b"again", file="file-a") == "/mnt/data/same.txt"
    assert box.logs("open('same.txt').read() + open('same-2.txt').read()") == "'againsecond'\n"

    async def asking() -> list[bool]:
        async with box.sandboxes.session("one") as session:
            return [session.has("file-a"), session.has("file-c")]

    assert box.do(asking()) == [True, False]


def test_an_attached_file_replaces_nothing_that_the_code_wrote(box: Bench) -> None:
    box.run("open('mine.txt', 'w').write('mine')")
    assert box.put("mine.txt", b"theirs", file="file-m") == "/mnt/data/mine-2.txt"
    assert box.logs("open('mine.txt').read()") == "'mine'\n"


def test_only_what_the_code_wrote_has_changed(box: Bench) -> None:
    box.put("in.txt", b"as it was", key="made")
    assert box.changed("made") == {}
    box.run("import os; os.makedirs('a/b'); open('a/b/out.txt', 'w').write('deep'); open('.hidden', 'w')", "made")
    assert box.changed("made") == {"/mnt/data/a/b/out.txt": b"deep"}
    assert box.changed("made") == {}
    box.run("open('in.txt', 'a').write('!')", "made")
    assert box.changed("made") == {"/mnt/data/in.txt": b"as it was!"}


def test_a_file_that_does_not_fit_is_refused_and_leaves_nothing(box: Bench) -> None:
    with pytest.raises(SandboxFull, match="no room for large"):
        box.put("large", bytes(80 << 20), key="full")
    assert box.logs("import os; os.listdir()", "full") == "[]\n"


def test_code_that_takes_too_long_is_stopped_and_its_state_kept(box: Bench) -> None:
    told = box.logs("y = 1\nwhile True: pass", timeout=0.5)
    assert "KeyboardInterrupt" in told
    assert told.endswith("[The code was stopped: it ran for more than 0.5 seconds.]\n")
    assert box.logs("y") == "1\n"


def test_code_that_is_left_is_stopped(box: Bench) -> None:
    async def leaving() -> None:
        async with box.sandboxes.session("one") as session:
            running = session.run("print('on', flush=True)\nwhile True: pass")
            assert await anext(running) == Printed("on\n")
            await running.aclose()

    box.do(leaving())
    assert box.logs("'next'") == "'next'\n"


def test_a_call_that_is_cancelled_is_stopped(box: Bench) -> None:
    async def cancelling() -> None:
        async def calling() -> None:
            async with box.sandboxes.session("one") as session:
                async for _ in session.run("while True: pass"):
                    pass

        task = asyncio.create_task(calling())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    box.do(cancelling())
    assert box.logs("'next'") == "'next'\n"


def test_calls_of_one_conversation_follow_each_other(box: Bench) -> None:
    async def both() -> list[str]:
        order = []

        async def one(name: str) -> None:
            async with box.sandboxes.session("one") as session:
                order.append(f"{name} in")
                async for _ in session.run("import time; time.sleep(0.2)"):
                    pass
                order.append(f"{name} out")

        await asyncio.gather(one("a"), one("b"))
        return order

    assert box.do(both()) == ["a in", "a out", "b in", "b out"]


def test_a_kernel_that_ends_itself_is_replaced_and_the_next_call_says_so(box: Bench) -> None:
    box.run("x = 1", "ends")
    with pytest.raises(SandboxDied, match="ended the Python that ran it"):
        box.run("import os; os._exit(3)", "ends")
    first, *rest = box.run("'x' in globals()", "ends")
    assert isinstance(first, Printed)
    assert first.text.startswith("[A new sandbox was started; variables and files of the last one are gone. The code")
    assert rest == [Printed("False\n")]
    assert box.run("1", "ends") == [Printed("1\n")]


def test_what_was_left_running_may_not_eat_the_processor(box: Bench) -> None:
    pid = box.process("eats")
    box.run("import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin).start()", "eats")
    for _ in range(30):
        if Path(f"/proc/{pid}").exists():
            box.do(asyncio.sleep(1))
    assert gone(pid)
    assert "left running used too much processor time" in box.logs("1", "eats")


def test_an_idle_sandbox_is_ended_with_its_children(tmp_path: Path) -> None:
    with bench(tmp_path, idle=1) as box:
        pid = box.process()
        child = box.logs("import subprocess; c = subprocess.Popen(['sleep', '1000']); c.pid")
        assert int(child) > 0
        box.do(asyncio.sleep(3))
        assert gone(pid)
        assert not [line for line in processes() if "sleep\0" + "1000" in line]
        assert "Nobody had used it for a long time." in box.logs("1")


def processes() -> list[str]:
    """The command lines of this machine's processes."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((folder / "cmdline").read_text(errors="replace"))
        except OSError:
            continue
    return lines


def test_the_one_idle_longest_makes_room(tmp_path: Path) -> None:
    with bench(tmp_path, SandboxLimits(kernels=1)) as box:
        box.run("x = 1", "first")
        box.run("x = 2", "second")
        told = box.logs("'x' in globals()", "first")
        assert "It made room for others." in told
        assert told.endswith("False\n")


def test_a_conversation_begins_with_a_warm_kernel(tmp_path: Path) -> None:
    with bench(tmp_path, pool=1) as box:
        box.do(box.sandboxes.warm())
        (warm,) = box.sandboxes._warm
        assert box.process() == warm.box.first  # type: ignore[attr-defined]  # tests look behind the port
        assert box.logs("import sys; 'pandas' in sys.modules") == "True\n"


SERVER = """
import asyncio, sys
from pathlib import Path
from everloom.sandbox.pool import JupyterSandboxes

async def main():
    sandboxes = JupyterSandboxes(Path(sys.argv[1]), pool=0)
    await sandboxes.open()
    async with sandboxes.session("one") as session:
        async for _ in session.run("import subprocess; c = subprocess.Popen(['sleep', '1000'])"):
            pass
        print(session.place.box.init, session.place.box.first, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_killed_server_leaves_no_kernel_behind(box: Bench, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        pids = [int(pid) for pid in server.stdout.readline().split()]
        assert len(pids) == 2
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        os.kill(server.pid, signal.SIGKILL)
    assert all(gone(pid) for pid in pids)


def test_an_unprivileged_server_has_sandboxes_too(box: Bench) -> None:
    if os.geteuid() != 0:
        pytest.skip("the whole suite runs unprivileged")
    script = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n" + SERVER.replace(
        "    await sandboxes.open()\n", "    await sandboxes.open()\n    print(sandboxes.available(), flush=True)\n"
    )
    command = [sys.executable, "-c", script, "/nonexistent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout
        told = server.stdout.readline().strip()
        if told != "None":
            server.kill()
            pytest.skip(told or "nobody may not read this Python's libraries")
        assert len(server.stdout.readline().split()) == 2
        server.kill()


def reason(folder: Path, python: Path | None = None) -> str | None:
    """Why there are no sandboxes; asserts that nothing is run without them."""

    async def opening() -> str | None:
        sandboxes = JupyterSandboxes(folder, python=python)
        await sandboxes.open()
        why = sandboxes.available()
        if why:
            with pytest.raises(SandboxUnavailable):
                async with sandboxes.session("one"):
                    pass
        await sandboxes.close()
        return why

    return asyncio.run(opening())


@pytest.mark.parametrize(
    ("python", "says"),
    [("/bin/false", "does not answer as a Python interpreter"), ("/nowhere/python", "cannot be started")],
)
def test_an_interpreter_that_is_none(tmp_path: Path, python: str, says: str) -> None:
    assert says in (reason(tmp_path, Path(python)) or "")


def test_an_interpreter_without_a_kernel(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    assert "has no ipykernel: pip install" in (reason(tmp_path / "data", tmp_path / "bare" / "bin" / "python") or "")


def test_data_beside_the_interpreter_are_never_shown() -> None:
    assert "lies within" in (reason(Path(sys.prefix) / "lib" / "everloom-data") or "")


def test_without_bubblewrap_there_is_no_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "bubblewrap (the program 'bwrap') is not installed" in (reason(tmp_path) or "")


def test_doctor_says_how_the_code_interpreter_is(box: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = everloom(tmp_path, "doctor", port="0").stdout
    assert "ok      code interpreter: sandboxes work\n" in told
    monkeypatch.setenv("PATH", str(tmp_path))
    told = everloom(tmp_path, "doctor", port="0").stdout
    assert "note    code interpreter: off. bubblewrap (the program 'bwrap') is not installed" in told
