"""A large file in parts: sent by hand in any order, sent by the SDK's own helper, cancelled, and refused."""

import hashlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
from program import client, ok, raises

DATA = bytes(range(256)) * 8_000
PIECES = [DATA[start : start + 500_000] for start in range(0, len(DATA), 500_000)]


def begin(**fields):
    given = {"filename": "big.txt", "purpose": "assistants", "bytes": len(DATA), "mime_type": "text/plain"}
    return client.uploads.create(**{**given, **fields})


upload = begin()
assert upload.id.startswith("upload_")
assert (upload.object, upload.status, upload.file) == ("upload", "pending", None)
assert (upload.filename, upload.bytes, upload.purpose) == ("big.txt", len(DATA), "assistants")
assert upload.expires_at - upload.created_at == 3600
with ThreadPoolExecutor(4) as threads:
    places = range(len(PIECES) - 1, -1, -1)
    parts = list(threads.map(lambda place: client.uploads.parts.create(upload.id, data=PIECES[place]), places))
assert {(part.object, part.upload_id) for part in parts} == {("upload.part", upload.id)}
ids = [part.id for part in reversed(parts)]
done = client.uploads.complete(upload.id, part_ids=ids, md5=hashlib.md5(DATA).hexdigest())
assert (done.id, done.status) == (upload.id, "completed")
assert (done.file.filename, done.file.bytes, done.file.purpose) == ("big.txt", len(DATA), "assistants")
assert client.files.retrieve(done.file.id) == done.file
assert client.files.content(done.file.id).read() == DATA
assert client.uploads.complete(upload.id, part_ids=ids, md5=hashlib.md5(DATA).hexdigest()) == done
ok("parts by hand")

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "lines.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n' * 50_000)
    sent = client.uploads.upload_file_chunked(
        file=path, mime_type="text/jsonl", purpose="fine-tune", part_size=400_000, md5=openai.NOT_GIVEN
    )
    assert (sent.status, sent.filename, sent.bytes) == ("completed", "lines.jsonl", path.stat().st_size)
    assert client.files.content(sent.file.id).read() == path.read_bytes()
held = client.uploads.upload_file_chunked(
    file=DATA, filename="held.txt", bytes=len(DATA), mime_type="text/plain", purpose="assistants"
)
assert client.files.content(held.file.id).read() == DATA
assert sent.file.id in [file.id for file in client.files.list(purpose="fine-tune")]
ok("the SDK's own helper")

upload = begin()
part = client.uploads.parts.create(upload.id, data=b"x")
assert client.uploads.cancel(upload.id).status == "cancelled"
for call in (
    lambda: client.uploads.parts.create(upload.id, data=b"x"),
    lambda: client.uploads.complete(upload.id, part_ids=[part.id]),
    lambda: client.uploads.cancel(upload.id),
):
    assert "upload with status 'cancelled'" in raises(openai.BadRequestError, call).message
ok("a cancelled upload")

upload = begin(bytes=10)
part = client.uploads.parts.create(upload.id, data=b"hello")
error = raises(openai.BadRequestError, client.uploads.complete, upload.id, part_ids=[part.id])
assert (error.param, error.code) == ("part_ids", "invalid_value")
error = raises(openai.BadRequestError, client.uploads.complete, upload.id, part_ids=["part_nope"])
assert error.param == "part_ids[0]"
error = raises(openai.BadRequestError, begin, bytes=9 * 1024**3)
assert (error.param, error.code) == ("bytes", "integer_above_max_value")
raises(openai.NotFoundError, client.uploads.complete, "upload_nope", part_ids=[])
ok("refusals")

for file in (done.file, sent.file, held.file):
    assert client.files.delete(file.id).deleted
ok("deletions")
