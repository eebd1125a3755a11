"""Legacy completions: ``POST /completions`` (createCompletion).

What is asked is checked in the platform's words (``requests/completions.py``), then goes to the model as the bytes it
came in. Where a model's server has chat completions alone, ``work/inference/completions.py`` builds the answer on them.
"""

from everloom.api.http.proxying import frames
from everloom.api.http.routes import EventStream, Request, Routes
from everloom.context import Context
from everloom.requests.completions import read_with_bytes
from everloom.work.inference import completions
from everloom.work.inference.answers import read_whole

routes = Routes(permission="model")


@routes.post("/completions")
async def create_completion(ctx: Context, call: Request, body: bytes) -> bytes | EventStream:
    """createCompletion. A client that goes away stops the model."""
    request, raw = read_with_bytes(body)
    asked = completions.ask(ctx, request, raw)
    if request.get("stream"):
        answer = await call.unless_gone(asked)
        return EventStream(frames(answer), answer.close)
    return await call.unless_gone(read_whole(asked))
