"""Texts judged by a moderation model, metered. Callers: moderations, batches."""

import msgspec

from everloom.kit.errors import NO_JSON, ApiError
from everloom.models.registry import Models
from everloom.objects.base import JsonObject
from everloom.work.inference.metering import asked, refused, unreadable


async def moderations(models: Models, body: JsonObject) -> bytes:
    """The answer to a createModeration request, as the model's server gave it.

    Errors: 404 ``model_not_found``, the platform's 4xx, ``ModelFailure``.
    """
    backend, own = models.resolve(body["model"], "moderate")
    try:
        answer = await backend.moderate({**body, "model": own})
        _moderation.decode(answer)
    except ApiError as error:
        refused(own, error)
        raise
    except NO_JSON as error:
        asked(own, "failed")
        raise unreadable(own) from error
    asked(own, "completed")
    return answer


class _Moderation(msgspec.Struct):
    """An answer, read only as far as it takes to know that it is one."""

    id: str
    model: str
    results: list[msgspec.Raw]


_moderation = msgspec.json.Decoder(_Moderation)
