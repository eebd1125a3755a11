"""Speech: ``POST /audio/speech`` (createSpeech)."""

from everloom.api.http.proxying import frames
from everloom.api.http.routes import Download, EventStream, Request, Routes
from everloom.context import Context
from everloom.context.answers import MeteredAnswer
from everloom.objects.base import JsonObject
from everloom.requests.speech import read

routes = Routes(permission="model")


@routes.post("/audio/speech")
async def create_speech(ctx: Context, call: Request, body: bytes) -> Download | EventStream:
    """createSpeech. The sound goes out as it is made; a client that goes away stops the model."""
    answer = await call.unless_gone(_spoken(ctx, read(body)))
    if answer.content_type == "text/event-stream":
        return EventStream(frames(answer), answer.close)
    call.at_end(answer.close)
    return Download(answer.blocks(), {"content-type": answer.content_type})


async def _spoken(ctx: Context, request: JsonObject) -> MeteredAnswer:
    async with ctx.ask("speak", request["model"]) as model:
        return await model.speak(request)
