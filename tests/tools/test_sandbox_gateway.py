"""Kernels behind Jupyter's own kernel gateway, started in an environment of its own."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from everloom.sandbox.base import Picture, Printed, SandboxDied, SandboxLimits, SandboxUnavailable
from everloom.sandbox.pool import JupyterSandboxes
from tests.bubblewrap import Bench, bench
from tests.sdk.environments import Sdk, python_of

GATEWAY = Sdk("kernel-gateway", ("jupyter_kernel_gateway==3.0.1", "ipykernel==7.4.0"), "")
TOKEN = "the-gateways-token"


@contextlib.contextmanager
def gateway(folder: Path) -> Iterator[str]:
    """A gateway whose kernels have their files in memory. They share them, so it is good for one at a time."""
    bwrap = shutil.which("bwrap")
    if not bwrap:
        pytest.skip("bubblewrap is not installed; it gives the gateway a /mnt of its own")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    own = [bwrap, "--dev-bind", "/", "/", "--tmpfs", "/mnt", "--die-with-parent", "--unshare-pid", "--proc", "/proc"]
    serve = [str(python_of(GATEWAY)), "-m", "kernel_gateway", f"--KernelGatewayApp.port={port}"]
    serve += [f"--KernelGatewayApp.auth_token={TOKEN}"]
    environ = os.environ | {"JUPYTER_RUNTIME_DIR": str(folder / "run"), "IPYTHONDIR": str(folder / "ipython")}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen([*own, *serve], env=environ, stdout=log, stderr=log) as server,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            until = time.monotonic() + 30
            while not answers(url):
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.1)
            yield url
        finally:
            server.kill()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/api").close()
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with gateway(tmp_path_factory.mktemp("gateway")) as found:
        yield found


@pytest.fixture
def box(url: str, tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, SandboxLimits(logs=1_000), gateway=url, gateway_token=TOKEN) as found:
        yield found
        # The next test's kernel finds the same folder: see ``gateway``.
        with contextlib.suppress(SandboxUnavailable, SandboxDied):
            found.run("import os, shutil; shutil.rmtree('/mnt/data')")


def test_code_runs_there_and_keeps_its_state(box: Bench) -> None:
    assert box.run("x = 20") == []
    assert box.run("print('on its way')\nx + 22") == [Printed("on its way\n"), Printed("42\n")]
    box.fails("1 / 0", "ZeroDivisionError")
    png = "iVBORw0KGgo="
    assert box.run(f"from IPython.display import display; display({{'image/png': '{png}'}}, raw=True)") == [
        Picture(b"\x89PNG\r\n\x1a\n")
    ]


def test_files_go_there_and_come_back(box: Bench) -> None:
    large = os.urandom(3 << 20)
    assert box.put("../in.bin", large) == "/mnt/data/in.bin"
    assert box.changed() == {}
    box.run("import os\nos.makedirs('deep'); open('deep/out.bin', 'wb').write(open('/mnt/data/in.bin', 'rb').read())")
    box.run("os.symlink('/etc/passwd', 'link')")
    assert box.changed() == {"/mnt/data/deep/out.bin": large}
    assert box.changed() == {}


def test_code_that_takes_too_long_is_stopped(box: Bench) -> None:
    told = box.logs("y = 1\nwhile True: pass", timeout=1)
    assert told.endswith("[The code was stopped: it ran for more than 1 seconds.]\n")
    assert box.logs("y") == "1\n"


def test_a_kernel_that_is_gone_is_told(box: Bench) -> None:
    with pytest.raises(SandboxDied):
        box.run("import os, shutil; shutil.rmtree('/mnt/data'); os._exit(1)", timeout=3)
    assert "A new sandbox was started" in box.logs("1")


def test_kernels_that_share_their_files_are_refused(box: Bench) -> None:
    box.put("private.txt", b"mine")
    with pytest.raises(SandboxUnavailable, match="share their /mnt/data"):
        box.run("1", key="two")


@pytest.mark.parametrize(
    ("token", "says"), [("wrong", "answers 401 to GET /api/kernelspecs"), (TOKEN, "None")], ids=["wrong", "right"]
)
def test_a_gateway_asks_for_its_token(url: str, tmp_path: Path, token: str, says: str) -> None:
    async def opening() -> str:
        sandboxes = JupyterSandboxes(tmp_path, gateway=url, gateway_token=token)
        await sandboxes.open()
        why = str(sandboxes.available())
        await sandboxes.close()
        return why

    assert says in asyncio.run(opening())


def test_a_gateway_that_is_not_there(tmp_path: Path) -> None:
    async def opening() -> str:
        sandboxes = JupyterSandboxes(tmp_path, gateway="http://127.0.0.1:9")
        await sandboxes.open()
        why = str(sandboxes.available())
        await sandboxes.close()
        return why

    assert "cannot be reached" in asyncio.run(opening())
