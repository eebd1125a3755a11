"""Answers for HTTP/1.0."""

import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class UnframedCycle(RequestResponseCycle):
    """An answer for HTTP/1.0, which knows no chunks: what has no length ends with its connection."""

    _unframed = False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            if not any(name.lower() == b"content-length" for name, _ in message["headers"]):
                self._unframed, self.chunked_encoding = True, False
                self.expected_content_length = sys.maxsize
        elif self._unframed and not message.get("more_body", False):
            await super().send(message | {"more_body": True})
            self.expected_content_length = 0
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await super().send(message)
