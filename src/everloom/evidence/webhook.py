"""Events posted to an HTTP endpoint, as lists of JSON objects in the envelope of the API's own lists."""

from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from everloom import __version__
from everloom.evidence.base import SinkAway
from everloom.objects.base import JsonObject, encode

SECONDS = 20.0
"""How long a receiver may take over a batch."""


class WebhookSink:
    """A ``Sink`` at an ``http://`` or ``https://`` URL. ``token``, if there is one, is sent as a bearer's.

    A batch is delivered when it is answered with 2xx; a redirect is not followed, since it could lead anywhere.
    """

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        self.name = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
        self._url = url
        self._headers = {"content-type": "application/json", "user-agent": f"everloom/{__version__}"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._session: aiohttp.ClientSession | None = None

    async def send(self, events: Sequence[JsonObject]) -> None:
        """See ``Sink.send``."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(SECONDS))
        body = encode({"object": "list", "data": events})
        try:
            async with self._session.post(self._url, data=body, headers=self._headers, allow_redirects=False) as answer:
                if not 200 <= answer.status < 300:
                    raise SinkAway(f"it answered {answer.status}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SinkAway(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Let go of the connection."""
        if self._session is not None:
            await self._session.close()
