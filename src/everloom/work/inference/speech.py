"""Speech for texts, metered. Callers: speech."""

import re
from collections.abc import AsyncIterator
from contextlib import ExitStack

from everloom.context import Context
from everloom.kit.errors import ApiError, ModelFailure
from everloom.models.base import Answer, MadeAhead
from everloom.objects.base import JsonObject
from everloom.work.inference.metering import asked, count_characters, refused

_WORDS = re.compile(r"text/|application/(?:.+\+)?(?:json|xml)$")
"""Media types of pages and errors that came with status 200."""


class MeteredSpeech:
    """Sound on its way, counted once when it is closed, which must be awaited. ``held`` is let go of then."""

    def __init__(self, answer: Answer, model: str, held: ExitStack) -> None:
        self.content_type = answer.content_type
        self._answer = answer
        self._model = model
        self._held = held
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
        with self._held:
            await self._answer.close()
        if not self._counted:
            self._counted = True
            asked(self._model, self._outcome)


async def speak(ctx: Context, body: JsonObject) -> MeteredSpeech:
    """Have the model that a checked createSpeech body names speak it, in the project's turn. Returns with the first
    sound. The turn is over when the model has made the last, however slowly it is listened to.

    Errors: 404 ``model_not_found``, the platform's 4xx, ``ModelFailure``. The answer must be closed.
    """
    backend, own = ctx.models.resolve(body["model"], "speak")
    with ExitStack() as held:
        try:
            place = held.enter_context(await ctx.ports.turns.place(ctx.project, backend, own))
            answer = await backend.speak({**body, "model": own})
        except ApiError as error:
            refused(own, error)
            raise
        await _check(answer, own)
        if isinstance(answer, MadeAhead):
            answer.when_made(place.free)
        count_characters(own, len(body["input"]))
        return MeteredSpeech(answer, own, held.pop_all())


async def _check(answer: Answer, own: str) -> None:
    """Errors: ``ModelFailure`` for what is no sound."""
    if answer.content_type != "text/event-stream" and _WORDS.match(answer.content_type):
        await answer.close()
        asked(own, "failed")
        raise ModelFailure(f"The model {own} answered with {answer.content_type}, no sound.", code="upstream_broken")
