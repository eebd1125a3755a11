"""Every endpoint beside chat, by the names that programs of the time asked for."""

import base64
import io
import os
import struct
import zlib

import openai
from program import OLD, client, ok, raises

LOCAL = os.environ["WALK_MODEL"] != "gpt-4o"
"""On the models in the box, whose words cannot be foreseen and of which none makes images."""

lenient = openai.OpenAI(max_retries=0)
"""Strict, the client refuses what the platform sends: the null of an unfinished choice, the base64 it asks for itself,
a duration that is a number (a text in December 2024), a stored message that is the user's."""

done = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Once upon a time", max_tokens=6)
assert (done.object, done.id[:5]) == ("text_completion", "cmpl-")
(choice,) = done.choices
assert (choice.index, choice.finish_reason) in ((0, "stop"), (0, "length"))
assert LOCAL or choice.text == " after Once upon a time"
assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
two = client.completions.create(model="gpt-3.5-turbo-instruct", prompt=["One", "Two"], n=2, max_tokens=3)
assert [choice.index for choice in two.choices] == [0, 1, 2, 3]
chunks = list(lenient.completions.create(model="gpt-3.5-turbo-instruct", prompt="Count", max_tokens=4, stream=True))
assert chunks[-1].choices[0].finish_reason in ("stop", "length")
assert {chunk.id for chunk in chunks} == {chunks[0].id}
error = raises(openai.BadRequestError, client.completions.create, model="gpt-3.5-turbo-instruct", prompt="x", n=200)
assert (error.param, error.code) == ("n", "integer_above_max_value")
ok("completions")

one = lenient.embeddings.create(model="text-embedding-ada-002", input="a cat")
plain = client.embeddings.create(model="text-embedding-ada-002", input=["a cat", "a dog"], encoding_format="float")
assert [item.index for item in plain.data] == [0, 1]
assert len(one.data[0].embedding) == len(plain.data[0].embedding)
assert max(abs(a - b) for a, b in zip(one.data[0].embedding, plain.data[0].embedding, strict=True)) < 1e-3
assert one.usage.prompt_tokens > 0
error = raises(openai.BadRequestError, client.embeddings.create, model="text-embedding-ada-002", input=["x"] * 3000)
assert error.param == "input"
ok("embeddings")

named = {} if LOCAL else {"model": "moderator"}
judged = client.moderations.create(input=["I will kill you.", "A nice day."], **named)
assert judged.id.startswith("modr-")
assert [result.flagged for result in judged.results] == [True, False]
assert judged.results[0].categories.violence
assert 0 <= judged.results[1].category_scores.violence < judged.results[0].category_scores.violence <= 1
ok("moderations")

said = client.audio.speech.create(
    model="tts-1", voice="alloy", input="Hello world, this is a test.", response_format="wav"
)
sound = said.content
assert sound[:4] == b"RIFF"
with client.audio.speech.with_streaming_response.create(model="tts-1", voice="nova", input="Hi.", speed=1.5) as answer:
    assert answer.headers["content-type"] == "audio/mpeg"
    assert sum(len(block) for block in answer.iter_bytes()) > 100
if LOCAL:  # an upstream may have voices of its own
    raises(openai.BadRequestError, client.audio.speech.create, model="tts-1", voice="nobody", input="Hi.")
ok("speech")

heard = client.audio.transcriptions.create(model="whisper-1", file=("speech.wav", sound))
assert isinstance(heard.text, str)
assert LOCAL or heard.text == f"I heard {len(sound)} bytes."
verbose = (client if OLD else lenient).audio.transcriptions.create(
    model="whisper-1", file=("a.wav", sound), response_format="verbose_json"
)
assert verbose.text == heard.text
assert OLD or verbose.segments is not None
if not OLD:  # the first one takes every answer for JSON
    subtitles = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", sound), response_format="vtt")
    assert subtitles.startswith("WEBVTT")
error = raises(
    openai.BadRequestError, client.audio.transcriptions.create, model="whisper-1", file=("a.wav", b"\x89PNG\r\n")
)
assert error.param == "file"
if not LOCAL:
    assert client.audio.translations.create(model="whisper-1", file=("speech.wav", sound)).text == heard.text
ok("transcriptions")


def png(side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff\xff\xff\x00" * side) * side
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


if not LOCAL:
    drawn = client.images.generate(prompt="a white dot", n=2, size="256x256", response_format="b64_json")
    assert [base64.b64decode(image.b64_json)[:4] for image in drawn.data] == [b"\x89PNG"] * 2
    image = io.BytesIO(png(64))
    image.name = "image.png"
    edited = client.images.edit(image=image, prompt="a black dot", response_format="url")
    assert edited.data[0].url.startswith("https://")
    varied = client.images.create_variation(image=("image.png", png(64)), n=1)
    assert len(varied.data) == 1
    raises(openai.BadRequestError, client.images.create_variation, image=("image.png", b"no picture"))
    ok("images")

error = raises(openai.NotFoundError, client.models.delete, "ft:nobody")
assert error.code == "model_not_found"
ok("deleting models")

if not OLD and openai.__version__ != "1.57.4":
    asked = [{"role": "user", "content": "Hello there"}]
    kept = client.chat.completions.create(
        model="gpt-4o", messages=asked, store=True, metadata={"walk": "endpoints"}, max_tokens=8
    )
    found = client.chat.completions.retrieve(kept.id)
    assert found.choices[0].message.content == kept.choices[0].message.content
    assert kept.id in [each.id for each in client.chat.completions.list(metadata={"walk": "endpoints"})]
    assert client.chat.completions.update(kept.id, metadata={"walk": "other"}).metadata == {"walk": "other"}
    assert [message.content for message in lenient.chat.completions.messages.list(kept.id)] == ["Hello there"]
    assert client.chat.completions.delete(kept.id).deleted
    raises(openai.NotFoundError, client.chat.completions.retrieve, kept.id)
    ok("stored completions")
