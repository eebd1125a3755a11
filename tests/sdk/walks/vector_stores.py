"""Vector stores made, filled one by one and in batches, searched and taken away."""

import io

import openai
from program import client, ok, raises

stores = client.vector_stores
expires = {"anchor": "last_active_at", "days": 3}
store = stores.create(name="facts", expires_after=expires, metadata={"a": "b"})
assert (store.object, store.status, store.name) == ("vector_store", "completed", "facts")
assert store.expires_at == store.last_active_at + 3 * 86400
assert stores.retrieve(store.id) == store
# One page: the strict SDK refuses stores without a name, to which the platform gave null.
assert [each.id for each in stores.list(limit=1).data] == [store.id]
changed = stores.update(store.id, name="more facts", metadata={})
assert (changed.name, changed.metadata) == ("more facts", {})
ok("stores")

first = client.files.create(file=("norway.txt", b"Oslo is the capital of Norway."), purpose="assistants")
chunking = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}}
done = stores.files.create_and_poll(
    first.id,
    vector_store_id=store.id,
    attributes={"country": "Norway"},
    chunking_strategy=chunking,
    poll_interval_ms=20,
)
assert (done.id, done.object, done.status, done.last_error) == (first.id, "vector_store.file", "completed", None)
assert done.chunking_strategy.to_dict() == chunking
assert done.attributes == {"country": "Norway"}
second = stores.files.upload_and_poll(
    vector_store_id=store.id, file=("fruit.md", b"# Fruit\n\nBananas are yellow."), poll_interval_ms=20
)
assert second.status == "completed"
song = client.files.create(file=("song.mp3", b"ID3"), purpose="assistants")
refused = raises(openai.BadRequestError, lambda: stores.files.create(store.id, file_id=song.id))
assert (refused.param, refused.code) == ("file_ids", "unsupported_file")
bad = stores.files.upload_and_poll(vector_store_id=store.id, file=("song.pdf", b"ID3"), poll_interval_ms=20)
assert bad.status == "failed"
assert bad.last_error.code == "invalid_file"
assert [each.id for each in stores.files.list(store.id, limit=2, order="asc")] == [first.id, second.id, bad.id]
assert [each.id for each in stores.files.list(store.id, filter="failed")] == [bad.id]
counts = stores.retrieve(store.id).file_counts
assert (counts.completed, counts.failed, counts.total) == (2, 1, 3)
ok("files")

found = stores.search(store.id, query="What is the capital of Norway?", rewrite_query=False, max_num_results=5)
results = list(found)
assert results[0].file_id == first.id
assert (results[0].filename, results[0].attributes) == ("norway.txt", {"country": "Norway"})
assert results[0].content[0].text == "Oslo is the capital of Norway."
named = stores.search(store.id, query="capital", filters={"type": "eq", "key": "country", "value": "Norway"})
assert {each.file_id for each in named} == {first.id}
other = stores.files.update(second.id, vector_store_id=store.id, attributes={"country": "none", "tons": 3})
assert other.attributes == {"country": "none", "tons": 3}
content = stores.files.content(second.id, vector_store_id=store.id)
assert "Bananas are yellow." in "".join(each.text for each in content)
ok("search")

batch = stores.file_batches.create_and_poll(store.id, file_ids=[first.id, second.id, bad.id], poll_interval_ms=20)
assert (batch.object, batch.status) == ("vector_store.files_batch", "completed")
assert (batch.file_counts.completed, batch.file_counts.failed) == (2, 1)
files = [io.BytesIO(f"Number {place}".encode()) for place in range(3)]
for place, file in enumerate(files):
    file.name = f"number{place}.txt"
uploaded = stores.file_batches.upload_and_poll(store.id, files=files, poll_interval_ms=20)
assert (uploaded.status, uploaded.file_counts.completed) == ("completed", 3)
assert stores.file_batches.retrieve(uploaded.id, vector_store_id=store.id) == uploaded
listed = [each.id for each in stores.file_batches.list_files(uploaded.id, vector_store_id=store.id, limit=1)]
assert len(set(listed)) == len(listed) == 3
assert stores.file_batches.cancel(uploaded.id, vector_store_id=store.id) == uploaded
ok("batches")

gone = stores.files.delete(first.id, vector_store_id=store.id)
assert (gone.id, gone.object, gone.deleted) == (first.id, "vector_store.file.deleted", True)
raises(openai.NotFoundError, lambda: stores.files.retrieve(first.id, vector_store_id=store.id))
assert client.files.retrieve(first.id).id == first.id
removed = stores.delete(store.id)
assert (removed.id, removed.object, removed.deleted) == (store.id, "vector_store.deleted", True)
raises(openai.NotFoundError, lambda: stores.retrieve(store.id))
ok("deletions")
