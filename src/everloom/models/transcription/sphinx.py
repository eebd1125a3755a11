"""Transcription in the box: pocketsphinx in child processes, English only, draft quality. Limits: ``docs/audio.md``."""

from everloom.kit.errors import BadRequest
from everloom.models.base import Capability, Form
from everloom.models.local import LocalModels
from everloom.models.transcription.answer import LocalTranscript, answer
from everloom.models.transcription.pool import TranscriberPool
from everloom.models.transcription.request import TranscriptionRequest, read_wish, unsupported

SPHINX_MODEL = "pocketsphinx"

_CHILDREN = 2
"""Files at once; each takes a processor."""

_SILENCE_S = 300.0
"""An utterance of 20 seconds takes about eight."""

_STOP_S = 2.0
_CAPABILITIES: frozenset[Capability] = frozenset({"transcribe"})


class SphinxBackend(LocalModels):
    """The model ``pocketsphinx``. Its package carries the acoustic model and the words."""

    max_concurrency: int | None = _CHILDREN

    def __init__(self) -> None:
        self._transcribers = TranscriberPool(
            SPHINX_MODEL, "sphinx_child", most=_CHILDREN, silence_s=_SILENCE_S, stop_s=_STOP_S
        )
        super().__init__((SPHINX_MODEL,), _CAPABILITIES, (self._transcribers,))

    async def transcribe(self, form: Form, *, translate: bool = False) -> LocalTranscript:
        """createTranscription. What pocketsphinx cannot do is refused: translations, other languages, prompts."""
        wish = read_wish(form, translate=translate)
        _check(wish)
        return await answer(SPHINX_MODEL, await self._transcribers.transcribe(wish.job), wish)


def _check(wish: TranscriptionRequest) -> None:
    job = wish.job
    if job.translate:
        raise BadRequest(
            f"The model `{SPHINX_MODEL}` does not translate: it understands English alone. Name a folder of a "
            "faster-whisper model in [[models]], or an upstream that translates.",
            param="model",
            code="invalid_model",
        )
    if job.language not in (None, "en"):
        text = f"Language '{job.language}' is not supported by the model `{SPHINX_MODEL}`, which knows English ('en')."
        raise BadRequest(text, param="language", code="unsupported_language")
    if job.prompt:
        raise unsupported("prompt")
    if job.keywords:
        raise unsupported("keywords")
    if job.pauses is not None:
        raise unsupported("chunking_strategy")
    if job.temperature != 0:
        raise BadRequest(
            f"Unsupported value: 'temperature' does not support {job.temperature:g} with this model. Only the default "
            "(0) value is supported.",
            param="temperature",
            code="unsupported_value",
        )
