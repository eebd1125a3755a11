"""Speech for texts, metered. Callers: speech."""

import re
from collections.abc import AsyncIterator

from everloom.kit.errors import ApiError, ModelFailure
from everloom.models.base import Answer
from everloom.models.registry import Models
from everloom.objects.base import JsonObject
from everloom.work.metering import asked, count_characters, refused

_WORDS = re.compile(r"text/|application/(?:.+\+)?(?:json|xml)$")
"""Media types of pages and errors that came with status 200."""


class MeteredSpeech:
    """Sound on its way, counted once when it is closed, which must be awaited."""

    def __init__(self, answer: Answer, model: str) -> None:
        self.content_type = answer.content_type
        self._answer = answer
        self._model = model
        self._outcome = "closed"
        self._counted = False

    async def blocks(self) -> AsyncIterator[bytes]:
        """The sound as it arrives. ``ModelFailure`` when the model's server fails in the middle of it."""
        try:
            async for block in self._answer.blocks():
                yield block
        except ApiError:
            self._outcome = "failed"
            raise
        self._outcome = "completed"

    async def close(self) -> None:
        """Let go of the answer; the model stops."""
        await self._answer.close()
        if not self._counted:
            self._counted = True
            asked(self._model, self._outcome)


async def speak(models: Models, body: JsonObject) -> MeteredSpeech:
    """Have the model that a checked createSpeech body names speak it. Returns with the first sound.

    Errors: 404 ``model_not_found``, the platform's 4xx, ``ModelFailure``. The answer must be closed.
    """
    backend, own = models.resolve(body["model"], "speak")
    try:
        answer = await backend.speak({**body, "model": own})
    except ApiError as error:
        refused(own, error)
        raise
    if answer.content_type != "text/event-stream" and _WORDS.match(answer.content_type):
        await answer.close()
        asked(own, "failed")
        raise ModelFailure(f"The model {own} answered with {answer.content_type}, no sound.", code="upstream_broken")
    count_characters(own, len(body["input"]))
    return MeteredSpeech(answer, own)
