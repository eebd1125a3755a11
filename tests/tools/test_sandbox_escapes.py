"""Code that tries to get out of the sandbox, or to take more than its share. Each must fail."""

import asyncio
import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from everloom.sandbox.base import SandboxDied, SandboxLimits
from tests.bubblewrap import Bench, bench, content

SMALL = SandboxLimits(memory=400 << 20, disk=16 << 20, entries=300, file=8 << 20, processes=60, open_files=64, cpu=20)
SECRET = "sk-host-secret-0123456789"

OWN = ("/dev/null", "/mnt/data/", "/proc/", "/tmp/", "/dev/urandom")
"""What a sandbox may have open."""

DANGEROUS = """
unshare setns mount pivot_root bpf keyctl add_key userfaultfd io_uring_setup perf_event_open memfd_create shmget msgget
open_by_handle_at kexec_load init_module reboot clone3 process_vm_writev kcmp personality chroot
"""

CTYPES = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    ctypes.set_errno(0)
    return libc.syscall(name, *arguments), os.strerror(ctypes.get_errno())
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("data")
    (folder / "everloom.db").write_text(SECRET)
    with bench(folder, SMALL) as found:
        found.logs(CTYPES)
        found.logs(f"folder = {str(folder)!r}")
        yield found


@pytest.fixture(scope="module")
def victim() -> Iterator[int]:
    """A process of the host with a key in its environment."""
    with subprocess.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"], "OPENAI_API_KEY": SECRET}) as process:
        yield process.pid
        assert process.poll() is None, "the sandbox ended a process of the host"
        process.kill()


@contextlib.contextmanager
def listening(family: int, address: tuple[str, int] | str) -> Iterator[tuple[socket.socket, list[bool]]]:
    """A server of the host, and whether anybody came."""
    came: list[bool] = []
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind(address)
        server.listen()
        server.settimeout(0.1)
        done = threading.Event()

        def accept() -> None:
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    server.accept()[0].close()
                    came.append(True)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server, came
        finally:
            done.set()
            thread.join()


def number(name: str) -> int:
    """A system call's number on this machine."""
    import pyseccomp  # type: ignore[import-untyped]  # pyseccomp ships no types

    return int(pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name))


# The network


def test_the_hosts_own_servers_cannot_be_reached(box: Bench) -> None:
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as (server, came):
        port = server.getsockname()[1]
        box.fails(f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)", "ConnectionRefusedError")
        assert came == []


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "8.8.8.8"])
def test_nothing_beyond_can_be_reached(box: Bench, address: str) -> None:
    box.fails(f"import socket; socket.create_connection(('{address}', 80), 2)", "OSError: [Errno 101]")


def test_no_name_is_resolved(box: Bench) -> None:
    box.fails("import socket; socket.getaddrinfo('localhost.example.com', 80)", "gaierror")


def test_abstract_sockets_of_the_host_are_out_of_reach(box: Bench) -> None:
    name = f"\0everloom-test-{os.getpid()}"
    with listening(socket.AF_UNIX, name) as (_, came):
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({name!r})"
        box.fails(code, "ConnectionRefusedError")
        assert came == []


@pytest.mark.parametrize("family", {"vsock": 40, "packet": 17, "alg": 38, "bluetooth": 31}.items(), ids=str)
def test_other_kinds_of_sockets_do_not_exist(box: Bench, family: tuple[str, int]) -> None:
    box.fails(f"import socket; socket.socket({family[1]}, socket.SOCK_STREAM)", "OSError: [Errno 38]")


def test_a_server_in_the_sandbox_is_not_seen_outside_and_stops_nothing(box: Bench) -> None:
    port = int(
        box.logs(
            "import threading\nleft = socket.create_server(('0.0.0.0', 0))\n"
            "threading.Thread(target=left.accept, daemon=True).start()\nleft.getsockname()[1]"
        )
    )
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 2)
    assert box.logs("'next'") == "'next'\n"


# Files


def test_no_password_file(box: Bench) -> None:
    box.fails("open('/etc/shadow')", "FileNotFoundError")
    assert box.logs("open('/etc/passwd').read()") == r"'sandbox:x:1000:1000::/tmp:/bin/sh\n'" + "\n"


def test_the_servers_data_are_not_there(box: Bench) -> None:
    box.fails("os.listdir(folder)", "FileNotFoundError")
    found = box.logs(f"import subprocess\nsubprocess.getoutput('grep -rls {SECRET} /tmp /mnt /run /etc /dev/shm')")
    assert found == "''\n"


def test_the_system_cannot_be_written(box: Bench) -> None:
    for path in ("/new", "/usr/new", "/etc/passwd", "/dev/new", "/run/new", "/proc/sys/kernel/hostname", "/mnt/new"):
        told = box.logs(f"try: open('{path}', 'w')\nexcept OSError as error: print(error.strerror)")
        assert told.strip() in ("Read-only file system", "Permission denied"), path
    # What can be written belongs to this sandbox alone.
    look = """
for path, *_ in os.walk("/"):
    if not path.startswith(("/proc", "/tmp", "/mnt/data")) and os.access(path, os.W_OK):
        try: open(path + "/new", "w").close()
        except OSError: continue
        print(path)
"""
    assert set(box.logs(look).split()) == {"/dev/shm", "/run/kernel"}


def test_another_conversations_files_and_kernel_are_not_there(box: Bench) -> None:
    box.put("private.txt", SECRET.encode(), key="other")
    box.run(f"open('/tmp/private', 'w').write('{SECRET}')", "other")
    other = box.process("other")
    own = "' '.join(sorted(os.listdir('/mnt/data') + os.listdir('/run/kernel') + os.listdir('/run')))"
    assert "private" not in box.logs(own)
    assert "socket-1" in box.logs(own)
    box.fails(f"os.listdir('/proc/{other}/root/run/kernel')", "FileNotFoundError")
    assert box.logs(f"open('/run/kernel.json').read().count('{SECRET}')") == "0\n"
    connection = box.logs("open('/run/kernel.json').read()")
    assert connection != box.logs("open('/run/kernel.json').read()", "other"), "each has a key of its own"


def test_a_link_out_of_the_folder_is_no_file(box: Bench) -> None:
    box.changed()
    box.run("os.symlink('/etc/passwd', 'link.txt'); os.symlink('/', 'all'); os.mkfifo('pipe'); open('real.txt', 'w')")
    assert box.changed() == {"/mnt/data/real.txt": b""}
    for path in (
        "link.txt",
        "all/etc/passwd",
        "pipe",
        "../../etc/passwd",
        "a/../../etc/passwd",
        "",
        ".",
        "/etc/passwd",
    ):

        async def reading(path: str) -> None:
            async with box.sandboxes.session("one") as session:
                with pytest.raises(FileNotFoundError):
                    await content(session, f"/mnt/data/{path}")

        box.do(asyncio.wait_for(reading(path), 5))


def test_a_file_that_becomes_a_link_while_it_is_read_shows_nothing_of_the_host(box: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "host.txt"
    secret.write_text(SECRET)
    swap = f"""
import threading, time
def swap():
    until = time.time() + 4
    while time.time() < until:
        for folder in ("race", "other"):
            os.makedirs(folder, exist_ok=True)
        open("race/host.txt", "w").write("sandbox")
        os.rename("race", "was"); os.symlink({str(tmp_path)!r}, "race"); os.unlink("race"); os.rename("was", "race")
        os.unlink("race/host.txt"); os.symlink({str(secret)!r}, "race/host.txt"); os.unlink("race/host.txt")
threading.Thread(target=swap).start()
"""
    box.run(swap)

    async def reading() -> set[bytes]:
        found = set()
        async with box.sandboxes.session("one") as session:
            for _ in range(1_000):
                with contextlib.suppress(FileNotFoundError):
                    found.add(await content(session, "/mnt/data/race/host.txt"))
                await asyncio.sleep(0)
            await session.changed()
        return found

    assert SECRET.encode() not in box.do(reading())


@pytest.mark.parametrize(
    ("given", "stands_at"),
    [
        ("../../etc/evil.txt", "/mnt/data/evil.txt"),
        ("/etc/evil2.txt", "/mnt/data/evil2.txt"),
        ("..\\..\\evil3.txt", "/mnt/data/evil3.txt"),
        ("nul\0.txt", "/mnt/data/nul.txt"),
        ("..", "/mnt/data/file"),
        ("\u202etxt.exe", "/mnt/data/txt.exe"),
    ],
)
def test_a_name_that_climbs_stays_in_the_folder(box: Bench, given: str, stands_at: str) -> None:
    assert box.put(given, b"here", file=f"id of {given}") == stands_at
    assert box.logs(f"open({stands_at!r}).read()") == "'here'\n"


def test_an_attached_file_does_not_follow_a_link_that_waits_for_it(box: Bench, tmp_path: Path) -> None:
    target = tmp_path / "host.txt"
    target.write_text("as it was")
    box.run(f"os.symlink({str(target)!r}, 'waits.txt')")
    assert box.put("waits.txt", b"attached", file="file-w") == "/mnt/data/waits-2.txt"
    box.run(f"os.unlink('waits-2.txt'); os.symlink({str(target)!r}, 'waits-2.txt')")
    assert box.put("waits.txt", b"again", file="file-w") == "/mnt/data/waits-2.txt"
    assert target.read_text() == "as it was"


# Processes and the kernel


def test_the_hosts_processes_and_their_environment_are_not_there(box: Bench, victim: int) -> None:
    box.fails(f"open('/proc/{victim}/environ')", "FileNotFoundError")
    look = """
import glob
found = b""
for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline"):
    try: found += open(path, "rb").read()
    except OSError: pass
print(found.decode(errors="replace"))
"""
    told = box.logs(look)
    assert "ipykernel_launcher" in told, "it looked"
    assert SECRET not in told
    assert not [name for name in os.environ if name.startswith("EVERLOOM") and name in told]
    assert str(Path(__file__).parent) not in told


def test_the_hosts_processes_cannot_be_signalled_or_traced(box: Bench, victim: int) -> None:
    box.fails(f"os.kill({victim}, 9)", "ProcessLookupError")
    attach = 16
    for pid in (victim, 1):
        assert box.logs(f"print(*call({number('ptrace')}, {attach}, {pid}, 0, 0))") == "-1 Function not implemented\n"
    assert box.logs(f"print(call({number('process_vm_readv')}, 1, 0, 0, 0, 0, 0)[0])") == "-1\n"


def test_it_has_a_user_of_its_own_and_no_rights(box: Bench) -> None:
    status = dict(line.split(":\t") for line in box.logs("print(open('/proc/self/status').read())").split("\n") if line)
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert set(status["Uid"].split()) == {"1000"}
    outside = os.stat(f"/proc/{box.process()}").st_uid
    assert outside != 0
    box.fails("os.setuid(0)", "OSError: [Errno 22]")


@pytest.mark.parametrize("name", DANGEROUS.split())
def test_dangerous_system_calls_do_not_exist(box: Bench, name: str) -> None:
    assert box.logs(f"print(*call({number(name)}, 0, 0, 0, 0, 0))") == "-1 Function not implemented\n"


def test_no_new_user_namespace(box: Bench) -> None:
    new_user, sigchld = 0x10000000, 17
    told = box.logs(f"print(*call({number('clone')}, {new_user | sigchld}, 0, 0, 0, 0))")
    assert told == "-1 Function not implemented\n"
    assert "unshare failed" in box.logs("import subprocess; print(subprocess.getoutput('unshare -U true'))", "other")


def test_no_descriptor_of_the_server_comes_along(box: Bench) -> None:
    look = """
for number in os.listdir("/proc/self/fd"):
    if os.path.lexists(f"/proc/self/fd/{number}"): print(os.readlink(f"/proc/self/fd/{number}"))
"""
    found = box.logs(look).split("\n")
    assert "/dev/null" in found
    assert [path for path in found if path.startswith("/") and not path.startswith(OWN)] == []


def test_killing_everything_kills_only_itself(box: Bench, victim: int) -> None:
    box.run("x = 1", "bystander")
    with pytest.raises(SandboxDied):
        box.run("import os\ntry: os.kill(-1, 9)\nfinally: os.kill(os.getpid(), 9)", "rampage")
    assert box.logs("x", "bystander") == "1\n"


def test_a_kernels_socket_replaced_by_a_link_leads_nowhere(box: Bench, tmp_path: Path) -> None:
    path = f"/tmp/everloom-{os.getpid()}.sock"
    with listening(socket.AF_UNIX, path) as (_, came):
        box.run(
            f"import os\nfor n in 1, 2: os.unlink(s := f'/run/kernel/socket-{{n}}'); os.symlink('{path}', s)", "swaps"
        )
        with contextlib.suppress(SandboxDied):
            box.run(
                "import gc, zmq\nfor s in gc.get_objects():\n    if isinstance(s, zmq.Socket): s.close(0)", "swaps", 2
            )
        box.do(asyncio.sleep(1))
        assert came == []
    os.unlink(path)
    assert box.logs("1").endswith("1\n"), "the others go on"


# More than its share


def test_a_fork_bomb_ends_at_the_limit(tmp_path: Path) -> None:
    with bench(tmp_path, SMALL) as box:
        count = """
import os, time
made = 0
try:
    while made < 1000:
        if os.fork() == 0:
            time.sleep(20); os._exit(0)
        made += 1
except BlockingIOError:
    print(made)
"""
        assert 0 < int(box.logs(count).split()[-1]) <= 60
        with contextlib.suppress(SandboxDied):
            box.run("import subprocess; subprocess.run(['sh', '-c', ':(){ :|:& };:'], timeout=2)", timeout=4)
        assert box.logs("'another'", "bystander") == "'another'\n"
        user = Path(f"/proc/{box.process()}").stat().st_uid
    if os.geteuid() == 0:
        assert [entry for entry in Path("/proc").glob("[0-9]*") if owner(entry) == user] == []


def owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except OSError:
        return -1


def test_a_memory_bomb_in_one_process_is_pythons_own_error(box: Bench) -> None:
    box.fails("hog = bytearray(1 << 30)", "MemoryError")
    assert box.logs("'alive'") == "'alive'\n"


def test_a_memory_bomb_in_many_processes_kills_the_sandbox(box: Bench) -> None:
    bomb = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        hog = bytearray(b"x") * (100 << 20)
        time.sleep(20)
        os._exit(0)
time.sleep(20)
"""
    with pytest.raises(SandboxDied, match=r"The code used more than 400 MB of memory\."):
        box.run(bomb, "bomb")


@pytest.mark.parametrize("folder", ["/mnt/data", "/tmp", "/dev/shm", "/run/kernel"])
def test_a_large_file_ends_at_the_limit(box: Bench, folder: str) -> None:
    fill = """
import os
written = 0
try:
    for n in range(10):
        with open(f"FOLDER/{n}.bin", "wb", buffering=0) as file:
            for _ in range(7):
                written += file.write(bytes(1 << 20))
except OSError as error:
    print(error.strerror, written >> 20)
for n in range(10):
    if os.path.exists(f"FOLDER/{n}.bin"): os.unlink(f"FOLDER/{n}.bin")
"""
    what, size = box.logs(fill.replace("FOLDER", folder), "disk").rsplit(" ", 1)
    assert what == "No space left on device"
    assert int(size) <= 16
    box.fails(
        "with open('one', 'wb') as file: file.write(bytes(9 << 20))", "OSError: [Errno 27] File too large", "disk"
    )


@pytest.mark.parametrize("folder", ["/mnt/data", "/tmp", "/dev/shm", "/run/kernel"])
def test_many_files_end_at_the_limit(box: Bench, folder: str) -> None:
    fill = """
import os, shutil
made = 0
os.mkdir("FOLDER/many")
try:
    while made < 5000:
        open(f"FOLDER/many/{made}", "w").close()
        made += 1
except OSError as error:
    print(error.strerror, made)
shutil.rmtree("FOLDER/many")
"""
    what, made = box.logs(fill.replace("FOLDER", folder), "disk").rsplit(" ", 1)
    assert what == "No space left on device"
    assert int(made) <= 300


def test_an_endless_loop_that_heeds_no_interrupt_is_killed(box: Bench) -> None:
    loop = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    with pytest.raises(SandboxDied, match="ran for more than 1 seconds and could not be interrupted"):
        box.run(loop, "loop", timeout=1)


def test_processor_time_of_all_processes_counts(tmp_path: Path) -> None:
    with bench(tmp_path, SandboxLimits(cpu=2)) as box:
        spin = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
        with pytest.raises(SandboxDied, match="more than 2 seconds of processor time"):
            box.run(spin, timeout=30)


def test_open_files_end_at_the_limit(box: Bench) -> None:
    box.fails("kept = [open('/dev/null') for _ in range(100)]", "OSError: [Errno 24]", "files")
