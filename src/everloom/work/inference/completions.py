"""Legacy completions of models. Callers: completions, batches.

Many servers of today have chat completions alone: for these the answer is built on chat (``completion_by_chat.py``).
"""

from collections.abc import AsyncIterator
from typing import Protocol

from everloom.context import Context
from everloom.context.bound_models import NoCompletions
from everloom.objects.base import JsonObject
from everloom.work.inference.completion_by_chat import by_chat


class Answered(Protocol):
    """An answer on its way, metered once it is closed. ``whole`` is for one that is not streamed."""

    content_type: str
    hides_usage: bool

    def blocks(self) -> AsyncIterator[bytes]: ...

    async def whole(self) -> bytes: ...

    async def close(self) -> None: ...


async def ask(ctx: Context, body: JsonObject, raw: bytes | None = None) -> Answered:
    """Have the model that ``body`` names go on with its prompts, as the request says.

    ``raw`` as in ``chat.ask``. Errors: 404 ``model_not_found``, the platform's 4xx, 400 ``unsupported_parameter``
    for what cannot be built on chat, ``ModelFailure``. The answer must be closed.
    """
    async with ctx.ask("complete", body["model"]) as model:
        try:
            return await model.complete(body, raw)
        except NoCompletions:
            backend_model = model.backend_model
    return await by_chat(ctx, body, backend_model)
