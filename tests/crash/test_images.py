"""``kill -9`` after everything that keeping two images does: what was answered opens, and nothing else stays."""

import asyncio
from pathlib import Path

import httpx

from everloom.objects.images import GeneratedImage
from everloom.objects.uploads import BlobDraft
from everloom.store.base import SYSTEM, Change
from everloom.store.sqlite import SqliteDatabase
from everloom.work.files import blobs
from everloom.work.inference import images
from tests.blobs import names, ports_of
from tests.pictures import drawing_bytes, png
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of


def test_killed_after_everything_that_keeping_images_does(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    upstream.serve("/images/generations", drawing_bytes)
    answered: list[str] = []
    for after in range(1, 20):
        server = Everloom(tmp_path, module="tests.crash.dying_blobs", test_die_after=after, upstream=upstream.url)
        with server:
            try:
                with client_of(server) as http:
                    answer = http.post("/images/generations", json={"prompt": "An otter", "n": 2})
                    assert answer.status_code == 200, answer.text
                    answered = [image["url"] for image in answer.json()["data"]]
                    break
            except httpx.TransportError:
                assert server.wait() == -9
    assert len(answered) == 2, "it never came to its end"
    assert after > 6
    with Everloom(tmp_path, upstream=upstream.url) as server:
        for url in answered:
            assert httpx.get(server.url + url.partition("/v1")[2]).content == png(1)
    asyncio.run(_an_hour_later(tmp_path))


async def _an_hour_later(folder: Path) -> None:
    def older(image: GeneratedImage) -> None:
        image.expires_at -= images.URL_SECONDS

    def untouched(draft: BlobDraft) -> None:
        draft.touched_at -= blobs.STALE_SECONDS

    database = SqliteDatabase(folder / "everloom.db")
    await database.open()
    try:
        ports = ports_of(database, folder / "blobs")
        store = database.store(SYSTEM)
        kept = await store.all(GeneratedImage)
        drafts = await store.all(BlobDraft)
        assert len(drafts) >= 4, "no kill has left anything, so this shows nothing"
        assert names(folder / "blobs") >= {image.id for image in kept}
        await store.write(
            *(Change(GeneratedImage, image.id, older) for image in kept),
            *(Change(BlobDraft, draft.id, untouched) for draft in drafts),
        )
        await images.sweep(ports)
        await blobs.sweep(ports)
        assert names(folder / "blobs") == set()
        assert await store.all(GeneratedImage) == []
        assert await store.all(BlobDraft) == []
    finally:
        await database.close()
