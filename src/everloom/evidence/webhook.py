"""Events posted to an HTTP endpoint, as lists of JSON objects in the envelope of the API's own lists."""

import io
import logging
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import aiohttp

from everloom import __version__
from everloom.evidence.base import LONGEST_TEXT, SinkAway, summary
from everloom.kit.bounded_heads import BoundedHeads
from everloom.kit.secrets import Secrets
from everloom.objects.base import JsonObject, encode

log = logging.getLogger(__name__)

SECONDS = 20.0
"""How long a receiver may take over a batch."""


class WebhookSink:
    """A ``Sink`` at an ``http://`` or ``https://`` URL. ``token``, if there is one, is sent as a bearer's.

    A batch is delivered when it is answered with 2xx; a redirect is not followed, since it could lead anywhere.
    One that is too large for the receiver (413) is sent in parts, and an event that is so alone is named only.
    """

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        self.name = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
        self._url = url
        self._secrets = Secrets()
        self._secrets.add([parts.query, *(value for _, value in parse_qsl(parts.query)), parts.password or "", token])
        self._headers = {"content-type": "application/json", "user-agent": f"everloom/{__version__}"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._session: aiohttp.ClientSession | None = None

    async def send(self, events: Sequence[JsonObject]) -> None:
        """See ``Sink.send``."""
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=BoundedHeads(), timeout=aiohttp.ClientTimeout(SECONDS))
        body = encode({"object": "list", "data": events})
        status = await self._post(self._session, body)
        if status == 413 and len(events) > 1:
            half = len(events) // 2
            await self.send(events[:half])
            await self.send(events[half:])
        elif status == 413 and "too_large" not in events[0]:
            log.warning("%s of the audit log has %d bytes, too many for its sink", events[0]["id"], len(body))
            await self.send([summary(events[0], len(body))])
        elif not 200 <= status < 300:
            raise SinkAway(f"it answered {status}")

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> int:
        """The status of the answer. Errors: ``SinkAway``, which says nothing of the URL's user and query."""
        try:
            data = io.BytesIO(body)
            async with session.post(self._url, data=data, headers=self._headers, allow_redirects=False) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            told = str(error)[: 2 * LONGEST_TEXT]
            raise SinkAway(self._secrets.hide(told) or type(error).__name__) from None

    async def close(self) -> None:
        """Let go of the connection."""
        if self._session is not None:
            await self._session.close()
