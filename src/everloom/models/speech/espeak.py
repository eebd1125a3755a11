"""Speech by espeak-ng: in the box, in a hundred languages, and a robot's. Limits: ``docs/audio.md``."""

import os
import unicodedata
from collections import Counter
from typing import NamedTuple

from everloom.models.base import Answer, Capability
from everloom.models.local import LocalModels
from everloom.models.speech import request as speech_request
from everloom.models.speech.child import Order, Ready
from everloom.models.speech.pool import SpeakerPool
from everloom.models.speech.request import SpeechEvents
from everloom.objects.base import JsonObject

ESPEAK_MODEL = "espeak-ng"

_MOST = 4
_SPEAKS: frozenset[Capability] = frozenset({"speak"})


class _Manner(NamedTuple):
    variant: str
    pitch: int


_MANNERS = {
    "alloy": _Manner("m3", 50),
    "ash": _Manner("m1", 45),
    "ballad": _Manner("m5", 35),
    "coral": _Manner("f2", 65),
    "echo": _Manner("m2", 50),
    "fable": _Manner("m4", 60),
    "onyx": _Manner("m7", 30),
    "nova": _Manner("f3", 55),
    "sage": _Manner("f4", 45),
    "shimmer": _Manner("f1", 60),
    "verse": _Manner("m6", 50),
    "marin": _Manner("f5", 50),
    "cedar": _Manner("m8", 40),
}
"""The platform's voices: thirteen that can be told apart, by espeak-ng's variants."""

_LATIN = "en-us"
_SCRIPTS = {
    "ARABIC": "ar",
    "ARMENIAN": "hy",
    "BENGALI": "bn",
    "CJK": "cmn",
    "CYRILLIC": "ru",
    "DEVANAGARI": "hi",
    "ETHIOPIC": "am",
    "GEORGIAN": "ka",
    "GREEK": "el",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "HANGUL": "ko",
    "HEBREW": "he",
    "HIRAGANA": "ja",
    "KANNADA": "kn",
    "KATAKANA": "ja",
    "MALAYALAM": "ml",
    "MYANMAR": "my",
    "SINHALA": "si",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
}
"""The most spoken language of a script, by the first word of its letters' names. A text in another one names it."""

_OTHER_NAMES = {"en": _LATIN, "no": "nb", "zh": "cmn"}


class EspeakBackend(LocalModels):
    """The model ``espeak-ng``. Up to four texts at once, no more than there are processors; the rest wait."""

    max_concurrency: int | None

    def __init__(self) -> None:
        self.max_concurrency = most = min(_MOST, os.cpu_count() or 1)
        install = "install everloom anew, or pip install espeakng-loader"
        self._speakers = SpeakerPool(
            "espeak-ng", "-m", "everloom.models.speech.espeak_child", most=most, install=install
        )
        super().__init__((ESPEAK_MODEL,), _SPEAKS, (self._speakers,))

    async def speak(self, body: JsonObject) -> Answer:
        """createSpeech. 400 for a voice that is neither the platform's nor ``language`` or ``language+variant``."""
        asked = speech_request.read(body)
        voice, pitch = _voice(asked.voice, asked.text, await self._speakers.known())
        order = Order(number=0, text=asked.text, voice=voice, format=asked.format, speed=asked.speed, pitch=pitch)
        speech = await self._speakers.say(order, asked.content_type, asked.model)
        return SpeechEvents(speech) if asked.streams else speech


def _voice(name: str, text: str, known: Ready) -> tuple[str, int]:
    """espeak-ng's name of a voice, and its pitch."""
    language, plus, variant = (language_of(text), "+", name) if name in _MANNERS else name.partition("+")
    language = _OTHER_NAMES.get(language.lower(), language.lower())
    manner = _MANNERS.get(variant, _Manner(variant, 50))
    if language not in known.voices or (plus and manner.variant not in known.variants):
        more = "A language is a voice too, with a variant if you like: 'de', 'pt-br+f2', 'fr+nova'."
        raise speech_request.unknown_voice(name, more)
    return f"{language}+{manner.variant}" if plus else language, manner.pitch


def language_of(text: str) -> str:
    """The language of a text that does not say: by the script that most of its letters are of."""
    scripts: Counter[str] = Counter()
    for character in text:
        if character.isalpha():
            scripts[unicodedata.name(character, "").partition(" ")[0]] += 1
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > 0.1 * scripts["CJK"] > 0:
        return "ja"
    known = [(count, script) for script, count in scripts.items() if script in _SCRIPTS or script == "LATIN"]
    return _SCRIPTS.get(max(known)[1], _LATIN) if known else _LATIN
