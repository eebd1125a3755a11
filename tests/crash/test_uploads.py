"""``kill -9`` after everything that is done to database and blobs during an upload; nothing acknowledged is lost.

The caller does what an SDK does: what was not answered is sent again, once the server is back.
"""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from everloom.objects.base import Object
from everloom.objects.files import File
from everloom.objects.uploads import BlobDraft, PartBlob, Upload, UploadTally
from everloom.store.base import Change
from everloom.store.sqlite import SqliteDatabase
from everloom.work.files import blobs
from everloom.work.files.blobs import STALE_SECONDS
from tests.blobs import names, ports_of
from tests.builders import Json, posted
from tests.servers import Everloom
from tests.servers import http as client_of

PARTS = (b"first " * 200_000, b"second " * 200_000)
CONTENT = PARTS[1] + PARTS[0]
UPLOAD = {"filename": "b.txt", "purpose": "assistants", "bytes": len(CONTENT), "mime_type": "text/plain"}


class Caller:
    """Sends a file in parts over servers that die, and asks again where it got no answer."""

    def __init__(self) -> None:
        self.upload = ""
        self.parts: list[str] = []
        self.completed: Json | None = None

    def go_on(self, server: Everloom) -> bool:
        """Whether it came to its end before the server came to its own."""
        try:
            with client_of(server, beta=None) as http:
                self.upload = self.upload or posted(http, "/uploads", UPLOAD)["id"]
                while len(self.parts) < len(PARTS):
                    part = http.post(f"/uploads/{self.upload}/parts", files={"data": PARTS[len(self.parts)]})
                    assert part.status_code == 200, part.text
                    self.parts.append(part.json()["id"])
                wanted = {"part_ids": self.parts[::-1], "md5": hashlib.md5(CONTENT).hexdigest()}
                self.completed = posted(http, f"/uploads/{self.upload}/complete", wanted)
        except httpx.TransportError:
            return False
        return True

    def check(self, http: httpx.Client) -> None:
        """The file is there, whole, and no other of this upload; and no part is taken any more."""
        assert self.completed is not None
        assert self.completed["status"] == "completed"
        file = self.completed["file"]
        assert http.get(f"/files/{file['id']}").json() == file
        assert http.get(f"/files/{file['id']}/content").content == CONTENT
        late = http.post(f"/uploads/{self.upload}/parts", files={"data": b"x"})
        assert late.status_code == 400


def test_killed_after_everything_that_an_upload_does(tmp_path: Path) -> None:
    callers: list[Caller] = []
    for after in range(1, 40):
        server = Everloom(tmp_path, module="tests.crash.dying_blobs", test_die_after=after)
        with server:
            victim = Caller()
            callers.append(victim)
            if victim.go_on(server):
                break
            assert server.wait() == -9
        assert after < 39, "it never came to its end"
    assert len(callers) > 12
    with Everloom(tmp_path) as server, client_of(server, beta=None) as http:
        for caller in callers:
            if not caller.completed:
                assert caller.go_on(server)
            caller.check(http)
        files = {file["id"] for file in http.get("/files").json()["data"]}
        assert len(files) == len(callers)
        assert {caller.completed["file"]["id"] for caller in callers if caller.completed} == files
    asyncio.run(after_an_hour(tmp_path, files))


async def after_an_hour(folder: Path, files: set[str]) -> None:
    """The sweep leaves nothing but what belongs to somebody; before the hour is over it leaves all."""
    database = SqliteDatabase(folder / "everloom.db")
    await database.open()
    try:
        ports = ports_of(database, folder / "blobs")
        before = names(folder / "blobs")
        assert before > files, "no crash has left anything, so this shows nothing"
        await blobs.sweep(ports)
        assert names(folder / "blobs") == before
        await age(database, BlobDraft, _an_hour_old)
        await blobs.sweep(ports)
        # Uploads that were begun, but never answered, stand until their hour is over; nothing was sent to them.
        assert names(folder / "blobs") == files
        assert await database.across(BlobDraft) == []
        assert await database.across(PartBlob) == []
        assert {file.id for _, file in await database.across(File)} == files
        assert all(not tally.ended for _, tally in await database.across(UploadTally, open=True))
        assert {upload.status for _, upload in await database.across(Upload)} <= {"completed", "pending"}
    finally:
        await database.close()


async def age(database: SqliteDatabase, cls: type[Object], edit: Callable[[Any], None]) -> None:
    """Make every object of a kind older."""
    for project, row in await database.across(cls):
        await database.store(project).write(Change(cls, row.id, edit))


def _an_hour_old(draft: BlobDraft) -> None:
    draft.touched_at -= STALE_SECONDS
