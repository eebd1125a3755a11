"""Model files from a hub or any web server: fetched with resume, checked, and never run.

The hub's addresses: https://huggingface.co/docs/hub/api and its ``resolve`` links, which tell a large file's size and
sha256 in ``x-linked-size`` and ``x-linked-etag``.
"""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Struct

from everloom.kit.bounded_heads import BoundedHeads
from everloom.kit.errors import ModelFailure
from everloom.models.files.formats import names_of
from everloom.models.files.wheels import Progress

CheckRoom = Callable[[int], None]
"""Told how many bytes are to come, before they come; raises where there is no room for them."""

ATTEMPTS = 5
"""In a row without a byte."""

_PAUSE_S = 1.0
_SILENT_S = 60.0
_REFERENCE = re.compile(r"hf:([\w.-]+)/([\w.-]+?)(?:@([^/\s]+))?(?:/([^\s?#]+))?")
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')


class Reference(Struct, frozen=True, kw_only=True):
    """Files on a hub: one by its ``file`` path, or the model that a whole repository is."""

    owner: str
    repository: str
    revision: str = "main"
    file: str = ""


def reference(text: str) -> Reference | None:
    """``hf:OWNER/REPOSITORY[@REVISION][/FILE]``; None for what is something else, such as a path.

    Errors: ``ValueError`` for a reference that is not written like that.
    """
    if not text.startswith("hf:"):
        return None
    found = _REFERENCE.fullmatch(text)
    if found is None or ".." in PurePosixPath(found[4] or "").parts:
        raise ValueError(f"{text!r} is not of the form hf:OWNER/REPOSITORY/FILE or hf:OWNER/REPOSITORY")
    return Reference(owner=found[1], repository=found[2], revision=found[3] or "main", file=found[4] or "")


class Hub:
    """The hub at ``base``; ``key`` is sent to it and to no other server that it points to."""

    def __init__(self, base: str, key: str | None = None) -> None:
        self._base = base
        self._headers = {"accept-encoding": "identity"} | ({"authorization": f"Bearer {key}"} if key else {})
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Hub":
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SILENT_S, sock_read=_SILENT_S)
        self._session = aiohttp.ClientSession(connector=BoundedHeads(), timeout=timeout, headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def names(self, wanted: Reference) -> list[str]:
        """The files that belong to a reference, the one to name to an engine first. Errors: ``ModelFailure``."""
        if wanted.file:
            folder = PurePosixPath(wanted.file).parent
            return [str(folder / name) for name in names_of(PurePosixPath(wanted.file).name)]
        url = f"{self._base}/api/models/{wanted.owner}/{wanted.repository}/revision/{quote(wanted.revision, safe='')}"
        try:
            async with self._get(url, {}) as response:
                _must_be_there(response, url)
                listed = await response.json(content_type=None)
            names = [str(sibling["rfilename"]) for sibling in listed["siblings"]]
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            raise ModelFailure(f"{url} gives no list of files: {error!r}", status=503) from error
        return _of_a_folder(names, f"{wanted.owner}/{wanted.repository}")

    async def fetch(
        self, wanted: Reference, name: str, target: Path, check_room: CheckRoom, progress: Progress
    ) -> None:
        """One file, to lie at ``target``. What came of it before is not fetched again. Errors: ``ModelFailure``."""
        url = f"{self._base}/{wanted.owner}/{wanted.repository}/resolve/{quote(wanted.revision, safe='')}/{quote(name)}"
        await self._download(url, target, check_room, progress)

    def _get(self, url: str, headers: dict[str, str]) -> "aiohttp.client._RequestContextManager":
        assert self._session is not None
        return self._session.get(url, headers=headers)

    async def _download(self, url: str, target: Path, check_room: CheckRoom, progress: Progress) -> None:
        part = await asyncio.to_thread(_Part, target)
        tries = 0
        while tries < ATTEMPTS and not part.is_whole():
            before = part.size()
            try:
                await self._attempt(url, part, check_room, progress)
                break
            except (aiohttp.ClientError, TimeoutError, _BusyError) as error:
                tries = 0 if part.size() > before else tries + 1
                why = str(error) or type(error).__name__
            await asyncio.sleep(_PAUSE_S * bool(tries))
        if tries == ATTEMPTS:
            raise ModelFailure(
                f"{url} could not be fetched: {why}. The same command goes on where it stopped.", status=503
            )
        await asyncio.to_thread(part.finish, url)

    async def _attempt(self, url: str, part: "_Part", check_room: CheckRoom, progress: Progress) -> None:
        async with self._get(url, part.headers()) as response:
            if response.status == 416:
                part.drop()
                raise _BusyError("the file has changed there")
            _must_be_there(response, url)
            start = part.begin(response)
            total = part.total
            check_room(max(0, total - start))
            here = start
            with part.path.open("r+b" if start else "wb") as file:
                file.seek(start)
                file.truncate()
                progress(here, total)
                async for block in response.content.iter_chunked(1 << 20):
                    file.write(block)
                    here += len(block)
                    progress(here, total)


class _BusyError(Exception):
    """A server that may answer better when it is asked again."""


def _must_be_there(response: aiohttp.ClientResponse, url: str) -> None:
    if response.status in (401, 403):
        raise ModelFailure(f"{url}: the hub does not let us have it ({response.status}); a key may (EVERLOOM_HUB_KEY).")
    if response.status == 429 or response.status >= 500:
        raise _BusyError(f"status {response.status}")
    if response.status not in (200, 206):
        raise ModelFailure(f"{url}: the hub answers {response.status}. Is it spelled like that there?", status=503)


class _Told(Struct):
    """What a server said of a file: its version's mark, its size (0: nothing) and its sha256."""

    tag: str = ""
    total: int = 0
    sha256: str = ""


class _Part:
    """A file on its way: the bytes so far, and beside them what tells whether the file is still the same."""

    def __init__(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self._target = target
        self.path = target.with_name(target.name + ".part")
        self._told_path = target.with_name(target.name + ".part.json")
        self._told = _Told()
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            self._told = msgspec.json.decode(self._told_path.read_bytes(), type=_Told)

    @property
    def total(self) -> int:
        """Bytes of the whole file; 0 where nobody said."""
        return self._told.total

    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def headers(self) -> dict[str, str]:
        """What asks for the rest, if it is the rest of the same file."""
        size = self.size()
        return {"range": f"bytes={size}-", "if-range": self._told.tag} if size and self._told.tag else {}

    def begin(self, response: aiohttp.ClientResponse) -> int:
        """Take note of what the answer says; where in the file it begins."""
        start, total = 0, response.content_length or 0
        if response.status == 206:
            ranged = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("content-range", ""))
            if ranged is None or int(ranged[1]) != self.size():
                self.drop()
                raise _BusyError("the server answered with another part than was asked for")
            start, total = int(ranged[1]), int(ranged[2])
        tag = response.headers.get("etag", "")
        if tag.startswith("W/"):  # which does not promise the same bytes
            tag = response.headers.get("last-modified", "")
        told = [*response.history, response]
        marks = (answer.headers.get(name, "") for answer in told for name in ("x-linked-etag", "etag"))
        sha256 = next((found[1] for mark in marks if (found := _SHA256.fullmatch(mark))), "")
        self._note(_Told(tag, total, sha256))
        return start

    def _note(self, told: _Told) -> None:
        """Kept whole: who is killed in the middle of it must not lose what the bytes so far are of."""
        if told != self._told:
            scratch = self._told_path.with_suffix(".new")
            scratch.write_bytes(msgspec.json.encode(told))
            scratch.replace(self._told_path)
            self._told = told

    def is_whole(self) -> bool:
        """Whether all bytes are here: they are, too, under the file's own name."""
        return self._target.is_file() or (bool(self.total) and self.size() == self.total)

    def drop(self) -> None:
        """Begin anew."""
        self._told = _Told()
        self.path.unlink(missing_ok=True)
        self._told_path.unlink(missing_ok=True)

    def finish(self, url: str) -> None:
        """Check it and give it its name. Errors: ``ModelFailure``; what is wrong is not kept."""
        if self._target.is_file():
            return
        size, total, sha256 = self.size(), self.total, self._told.sha256
        if total and size != total:
            self.drop()
            raise ModelFailure(f"{url} came with {size} bytes, not {total}; it was not kept.", status=503)
        if sha256:
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != sha256:
                self.drop()
                raise ModelFailure(f"{url} has the wrong sha256 {digest}; it was not kept.", status=503)
        self.path.replace(self._target)
        self._told_path.unlink(missing_ok=True)


_NOT_FOR_US = re.compile(r".*\.(msgpack|onnx|onnx_data|pb|h5|ckpt|tflite|xml|md|png|jpg|jpeg|gif|mp4)|\..*|.*/\..*")
_VARIANT = re.compile(r".*(\.fp16\.|non_ema|\.bf16\.).*")


def _of_a_folder(names: list[str], repository: str) -> list[str]:
    """What of a repository is the model: a diffusers pipeline's parts once each, or faster-whisper's folder."""
    safe = [name for name in names if not name.startswith("/") and ".." not in PurePosixPath(name).parts]
    if "model_index.json" in safe:
        kept = [name for name in safe if not _NOT_FOR_US.fullmatch(name) and not _VARIANT.fullmatch(name)]
        better = {name.rpartition("/")[0] for name in kept if name.endswith(".safetensors")}
        return [
            name
            for name in kept
            if not (name.endswith(".bin") and name.rpartition("/")[0] in better)
            and not (name.endswith((".safetensors", ".bin")) and "/" not in name)
        ]
    if "model.bin" in safe and "config.json" in safe:
        return [name for name in safe if "/" not in name and not _NOT_FOR_US.fullmatch(name)]
    files = [name for name in safe if name.endswith((".gguf", ".onnx"))]
    named = ", ".join(f"hf:{repository}/{name}" for name in files[:10])
    raise ModelFailure(
        f"{repository} is no folder of a diffusers pipeline or of faster-whisper"
        + (f"; it has these files: {named}" if named else ", and has no GGUF file"),
        status=503,
    )
