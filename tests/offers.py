"""What the scripted upstream answers at the endpoints beside chat and embeddings, as the platform words it."""

import base64
import io
import json
import struct
import wave
import zlib
from typing import Any

from aiohttp import web

from tests.scripted import Request, ScriptedUpstream

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


def serve_all(upstream: ScriptedUpstream) -> None:
    """Have every endpoint answered until the next ``reset``."""
    upstream.serve("/completions", completions)
    upstream.serve("/moderations", moderations)
    upstream.serve("/audio/speech", speech)
    upstream.serve("/audio/transcriptions", transcription)
    upstream.serve("/audio/translations", transcription)
    for verb in ("generations", "edits", "variations"):
        upstream.serve(f"/images/{verb}", images)


def completions(request: Request) -> web.StreamResponse:
    """The prompt again, as a text completion."""
    body = request.body
    prompts = body["prompt"] if isinstance(body["prompt"], list) and isinstance(body["prompt"][0], str) else ["x"]
    prompts = [body["prompt"]] if isinstance(body["prompt"], str) else prompts
    head = {"id": "cmpl-scripted", "object": "text_completion", "created": 1_700_000_000, "model": body["model"]}
    choices: list[dict[str, Any]] = [
        {"text": f" after {prompt}", "index": index, "logprobs": None, "finish_reason": "stop"}
        for index, prompt in enumerate(prompt for prompt in prompts for _ in range(body.get("n") or 1))
    ]
    written = sum(len(choice["text"].split()) for choice in choices)
    read = sum(len(prompt.split()) for prompt in prompts)
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    if not body.get("stream"):
        return web.json_response({**head, "choices": choices, "usage": usage})
    events = []
    for choice in choices:
        for word in choice["text"].split():
            events.append({**head, "choices": [{**choice, "text": f" {word}", "finish_reason": None}]})
        events.append({**head, "choices": [{**choice, "text": ""}]})
    if (body.get("stream_options") or {}).get("include_usage"):
        events = [{**event, "usage": None} for event in events] + [{**head, "choices": [], "usage": usage}]
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    return web.Response(body=text.encode(), content_type="text/event-stream")


def moderations(request: Request) -> web.StreamResponse:
    """Violence where the text says "kill"; a list of parts is one thing to judge."""
    given = request.body["input"]
    parts = isinstance(given, list) and given and isinstance(given[0], dict)
    texts = [json.dumps(given)] if parts else [given] if isinstance(given, str) else given
    results = []
    for text in texts:
        flagged = "kill" in text
        scores = {name: 0.9 if flagged and name == "violence" else 0.001 for name in CATEGORIES}
        results.append(
            {
                "flagged": flagged,
                "categories": {name: score > 0.5 for name, score in scores.items()},
                "category_scores": scores,
                "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
            }
        )
    return web.json_response({"id": "modr-scripted", "model": request.body["model"], "results": results})


def speech(request: Request) -> web.StreamResponse:
    """A tenth of a second of silence, which is real where it is wav."""
    format = request.body.get("response_format") or "mp3"
    sound = wav() if format == "wav" else b"\x00\x01" * 1200
    return web.Response(body=sound, headers={"content-type": MEDIA_TYPES[format]})


def transcription(request: Request) -> web.StreamResponse:
    """How long the file was, in the format asked for."""
    (audio,) = (part for part in request.form if part.name == "file")
    text = f"I heard {len(audio.content)} bytes."
    format = request.field("response_format") or "json"
    if format in ("json", "verbose_json"):
        return web.json_response({"text": text} if format == "json" else _verbose(text))
    shown = {"text": text + "\n", "srt": f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n"}
    shown["vtt"] = f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{text}\n\n"
    return web.Response(text=shown[format])


def _verbose(text: str) -> dict[str, Any]:
    segment = {"id": 0, "seek": 0, "start": 0.0, "end": 1.0, "text": text, "tokens": [1, 2], "temperature": 0.0}
    segment |= {"avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.0}
    return {"task": "transcribe", "language": "english", "duration": 1.0, "text": text, "segments": [segment]}


def images(request: Request) -> web.StreamResponse:
    """As many pictures as asked for, each a white dot."""
    asked = dict(request.body) or {part.name: part.content.decode() for part in request.form if part.filename is None}
    if asked.get("response_format") == "b64_json":
        shown = {"b64_json": base64.b64encode(png(1)).decode()}
    else:
        shown = {"url": "https://images.invalid/one.png"}
    data = [{**shown, "revised_prompt": asked.get("prompt")} for _ in range(int(asked.get("n") or 1))]
    return web.json_response({"created": 1_700_000_000, "data": data})


def wav(seconds: float = 0.1, rate: int = 24_000) -> bytes:
    """Silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(b"\0\0" * int(seconds * rate))
    return file.getvalue()


def png(side: int, alpha: int = 255) -> bytes:
    """A white square with an alpha channel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    rows = (b"\0" + bytes((255, 255, 255, alpha)) * side) * side
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
