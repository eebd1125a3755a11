"""An upstream that slows down as it gets more to do, as inference servers do: each answer takes longer by a part for
every other one that is under way.
"""

import argparse
import asyncio
import json

from aiohttp import web

_WHOLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "one two three"}, "finish_reason": "stop"},
    ],
    "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
}
_CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "one"}, "finish_reason": "stop"}],
}


class Slowing:
    """``seconds`` an answer takes alone, and ``part`` of that more for each other one."""

    def __init__(self, seconds: float, part: float) -> None:
        self._seconds = seconds
        self._part = part
        self._active = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """createChatCompletion."""
        body = await request.json()
        self._active += 1
        try:
            await asyncio.sleep(self._seconds * (1 + self._part * (self._active - 1)))
        finally:
            self._active -= 1
        if not body.get("stream"):
            return web.json_response(_WHOLE)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: " + json.dumps(_CHUNK).encode() + b"\n\ndata: [DONE]\n\n")
        await response.write_eof()
        return response


async def _models(request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": "gpt-4o", "object": "model", "created": 1}]})


async def _serve(slowing: Slowing) -> None:
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/v1/chat/completions", slowing.answer)
    app.router.add_get("/v1/models", _models)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    print(f"slowing: ready on http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--part", type=float, default=0.02)
    chosen = parser.parse_args()
    asyncio.run(_serve(Slowing(chosen.seconds, chosen.part)))


if __name__ == "__main__":
    main()
