"""A Whisper model of a few megabytes that says what it is told to: nobody's weights, and all of the machinery.

Every layer passes on what it gets, so that a token alone decides which one follows: behind ``transcribe`` it says
``TRANSCRIBED``, behind ``translate`` it says ``TRANSLATED``, and it takes every sound for German.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

TRANSCRIBED = ["Das", "Wetter", "ist", "schön"]
TRANSLATED = ["The", "weather", "is", "fine"]

_TEXTS = 50_257
_VOCABULARY = 51_865
_MULTILINGUAL = ""
"""The token by which the library tells that a model knows more than English."""

_WIDTH = 32
_END = "<|endoftext|>"


def make(folder: Path) -> Path:
    """Write the model's files into ``folder``, as a conversion to CTranslate2 would."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer, names = _tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": 80}))
    _spec(names).save(str(folder))
    return folder


def _tokenizer() -> tuple[Any, list[str]]:
    from faster_whisper.tokenizer import _LANGUAGE_CODES
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    texts = alphabet + [_written(word) for word in TRANSCRIBED + TRANSLATED]
    texts += [f"x{number}" for number in range(_TEXTS - 1 - len(texts))] + [_MULTILINGUAL]
    tokenizer = Tokenizer(models.BPE(vocab={text: id for id, text in enumerate(texts)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    languages = [f"<|{code}|>" for code in _LANGUAGE_CODES if code != "yue"]
    special = [_END, "<|startoftranscript|>", *languages, "<|translate|>", "<|transcribe|>", "<|startoflm|>"]
    special += ["<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    special += [f"<|{second / 50:.2f}|>" for second in range(1501)]
    tokenizer.add_special_tokens(special)
    names = texts + special
    assert len(names) == _VOCABULARY
    return tokenizer, names


def _written(word: str) -> str:
    """A word as such vocabularies write it: a letter for each byte, and a mark for the blank before it."""
    from tokenizers.pre_tokenizers import ByteLevel

    ((text, _),) = ByteLevel(add_prefix_space=True, use_regex=False).pre_tokenize_str(word)
    return str(text)


def _chains() -> list[Sequence[str]]:
    def said(task: str, begin: str, words: list[str], end: str) -> Sequence[str]:
        return [task, begin, *map(_written, words), end, _END]

    return [
        ["<|startoftranscript|>", "<|de|>"],
        said("<|transcribe|>", "<|0.00|>", TRANSCRIBED, "<|2.00|>"),
        said("<|translate|>", "<|0.20|>", TRANSLATED, "<|3.00|>"),
    ]


def _spec(names: list[str]) -> Any:
    from ctranslate2.specs import WhisperSpec

    ids = {name: id for id, name in enumerate(names)}
    random = np.random.default_rng(7)
    embeddings = random.normal(size=(_VOCABULARY, _WIDTH)).astype(np.float32)
    projection = np.zeros((_VOCABULARY, _WIDTH), dtype=np.float32)
    for chain in _chains():
        for token, following in pairwise(chain):
            projection[ids[following]] += embeddings[ids[token]]
    spec = WhisperSpec(1, 1, 1, 1)
    for name, value in spec.variables().items():
        if value is None:
            _set(spec, name, np.zeros(_shape(name), dtype=np.float32))
    for name in (name for name in spec.variables() if name.endswith("gamma")):
        _set(spec, name, np.ones(_WIDTH, dtype=np.float32))
    places, query = _attention(embeddings, ids)
    spec.encoder.position_encodings.encodings = places
    spec.decoder.layer[0].attention.linear[0].weight = query
    spec.decoder.layer[0].attention.linear[1].weight = np.eye(2 * _WIDTH, _WIDTH, dtype=np.float32)
    spec.decoder.position_encodings.encodings = np.zeros((448, _WIDTH), dtype=np.float32)
    spec.decoder.embeddings.weight = embeddings
    spec.decoder.projection.weight = projection
    spec.register_vocabulary(names)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.lang_ids = list(range(_TEXTS + 2, _TEXTS + 101))
    spec.config.alignment_heads = [(0, 0)]
    spec.validate()
    return spec


def _attention(embeddings: Any, ids: dict[str, int]) -> tuple[Any, Any]:
    """Positions in the sound, and queries that look for each word half a second behind the one before it: from this
    the library reads when a word was said. Nothing of what is found there is passed on.
    """
    halves = np.random.default_rng(8).normal(size=(60, _WIDTH)).astype(np.float32)
    looks = {"<|notimestamps|>": 0}
    for words in (TRANSCRIBED, TRANSLATED):
        looks |= {_written(word): half for half, word in enumerate(words, 1)}
    asked = np.stack([_normal(embeddings[ids[token]]) for token in looks])
    sought = np.stack([_normal(halves[half]) for half in looks.values()])
    query = np.linalg.lstsq(asked, 2 * sought, rcond=None)[0].T
    return np.repeat(halves, 25, axis=0), np.ascontiguousarray(query, dtype=np.float32)


def _normal(vector: Any) -> Any:
    return (vector - vector.mean()) / vector.std()


def _shape(name: str) -> tuple[int, ...]:
    if "conv" in name:
        return (_WIDTH, 80 if "conv1" in name else _WIDTH, 3)
    if "ffn/linear" in name:
        return (4 * _WIDTH, _WIDTH) if name.endswith("linear_0/weight") else (_WIDTH, 4 * _WIDTH)
    if "linear" in name:
        fused = {"self_attention/linear_0": 3, "attention/linear_1/weight": 2 if "/attention/" in name else 1}
        return (next((many for part, many in fused.items() if part in name), 1) * _WIDTH, _WIDTH)
    return (_VOCABULARY, _WIDTH) if name in ("decoder/embeddings/weight", "decoder/projection/weight") else (_WIDTH,)


def _set(spec: Any, name: str, value: Any) -> None:
    *path, last = name.split("/")
    for part in path:
        stem, _, number = part.rpartition("_")
        spec = getattr(spec, part) if hasattr(spec, part) else getattr(spec, stem)[int(number)]
    setattr(spec, last, value)
