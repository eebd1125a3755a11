"""Sounds that tests listen to: decoded again by FFmpeg, and a voice for piper that is no more than a tone."""

import array
import io
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

LETTERS = " abcdefghijklmnopqrstuvwxyz.,!?'ɪəˈˌʊɹðŋʃθɔæɑɛʌːɡɾ"


class Sound(NamedTuple):
    """``rate`` samples a second, ``seconds`` of them; ``loudness`` is the root mean square of -1 to 1."""

    codec: str
    rate: int
    channels: int
    seconds: float
    loudness: float


def sound_of(data: bytes, format: str) -> Sound:
    """What a player makes of the bytes; ``pcm`` says nothing of itself."""
    import av

    if format == "pcm":
        samples = array.array("h", data)
        return Sound("pcm", 24_000, 1, len(samples) / 24_000, _loudness(samples))
    heard = array.array("h")
    with av.open(io.BytesIO(data)) as container:
        context = container.streams.audio[0].codec_context
        resampler = av.AudioResampler(format="s16", layout="mono", rate=24_000)
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                heard.frombytes(bytes(part.planes[0])[: 2 * part.samples])
        return Sound(context.name, context.rate, context.channels, len(heard) / 24_000, _loudness(heard))


def _loudness(samples: "array.array[int]") -> float:
    import numpy

    heard = numpy.frombuffer(samples, "<i2").astype(numpy.float64) / 32768
    return float(numpy.sqrt(numpy.mean(heard**2))) if len(heard) else 0.0


def _raised(speakers: int) -> list[Any]:
    """The letters, a step higher with every speaker."""
    from onnx import TensorProto, helper

    if speakers == 1:
        return [helper.make_node("Identity", ["read"], ["letters"])]
    speaker = helper.make_node("Cast", ["sid"], ["speaker"], to=TensorProto.FLOAT)
    return [speaker, helper.make_node("Add", ["read", "speaker"], ["letters"])]


def a_piper_voice(path: Path, *, speakers: int = 1, rate: int = 16_000, **settings: Any) -> Path:
    """A voice as piper's, with random weights' worth of meaning: every letter is a fiftieth of a second of a tone."""
    import numpy
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    samples = rate // 50
    times = numpy.arange(samples, dtype=numpy.float32).reshape(1, 1, samples) / rate
    constants = {
        "times": times,
        "hertz": numpy.array(2 * math.pi * 40, dtype=numpy.float32),
        "axis": numpy.array([2], dtype=numpy.int64),
        "flat": numpy.array([1, 1, 1, -1], dtype=numpy.int64),
    }
    nodes = [
        helper.make_node("Cast", ["input"], ["read"], to=TensorProto.FLOAT),
        *_raised(speakers),
        helper.make_node("Unsqueeze", ["letters", "axis"], ["columns"]),
        helper.make_node("Mul", ["columns", "hertz"], ["pitches"]),
        helper.make_node("Mul", ["pitches", "times"], ["angles"]),
        helper.make_node("Sin", ["angles"], ["waves"]),
        helper.make_node("Reshape", ["waves", "flat"], ["output"]),
    ]
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, "letters"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    if speakers > 1:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 1, "samples"])
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "voice", inputs, [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    letters = {letter: [number] for number, letter in enumerate(LETTERS, 3)}
    config = {
        "audio": {"sample_rate": rate},
        "espeak": {"voice": "en-us"},
        "phoneme_type": "espeak",
        "num_symbols": 256,
        "num_speakers": speakers,
        "speaker_id_map": {f"p{number}": number for number in range(speakers)} if speakers > 1 else {},
        "phoneme_id_map": {"_": [0], "^": [1], "$": [2], **letters},
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
    }
    path.with_name(path.name + ".json").write_text(json.dumps(config | settings), encoding="utf-8")
    return path
