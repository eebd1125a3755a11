"""Folded deltas rebuild what the deltas did, by the accumulators of the SDK, and from wherever a reader goes on."""

import random
import warnings
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from openai.lib.streaming import _assistants as sdk

from everloom.objects.messages import (
    FileCitationDelta,
    FileCitationSource,
    ImageFile,
    ImageFileContentDelta,
    MessageContentDelta,
    MessageDelta,
    RefusalContentDelta,
    TextContentDelta,
    TextDelta,
)
from everloom.objects.steps import (
    CodeInterpreterDelta,
    CodePiece,
    FileSearchDelta,
    FunctionCallDelta,
    FunctionPiece,
    ImageDelta,
    ImageReference,
    LogsDelta,
    RunStepDelta,
    StepDetailsDelta,
    ToolCallsDelta,
)
from everloom.store.base import Event
from everloom.work.runs.folding import Folding, behind

MESSAGE = {"id": "msg_1", "object": "thread.message", "created_at": 1, "thread_id": "thread_1", "role": "assistant"}
MESSAGE |= {"status": "in_progress", "content": [], "metadata": {}, "attachments": []}
STEP = {"id": "step_1", "object": "thread.run.step", "created_at": 1, "run_id": "run_1", "thread_id": "thread_1"}
STEP |= {"assistant_id": "asst_1", "type": "tool_calls", "status": "in_progress", "metadata": {}}
STEP |= {"step_details": {"type": "tool_calls", "tool_calls": []}}
WORDS = ("rain ", "", "snö", "🌧️ ", "\\n", '"quoted" ', "\x00", "a longer piece of text ")

Log = list[tuple[str, Any]]


def _message(part: Any) -> tuple[str, Any]:
    return "thread.message.delta", MessageDelta(id="msg_1", delta=MessageContentDelta(content=[part]))


def _text(index: int, **fields: Any) -> tuple[str, Any]:
    return _message(TextContentDelta(index=index, text=TextDelta(**fields)))


def _step(call: Any) -> tuple[str, Any]:
    details = StepDetailsDelta(step_details=ToolCallsDelta(tool_calls=[call]))
    return "thread.run.step.delta", RunStepDelta(id="step_1", delta=details)


def a_spoken_log(chance: random.Random) -> Log:
    """A message of pictures, a text with marks and perhaps a refusal."""
    log: Log = [("thread.message.created", MESSAGE)]
    pictures = chance.randrange(3)
    log += [
        _message(ImageFileContentDelta(index=number, image_file=ImageFile(file_id=f"file-{number}")))
        for number in range(pictures)
    ]
    log.append(_text(pictures, value=chance.choice(WORDS), annotations=[]))
    marks = 0
    for _ in range(chance.randrange(20)):
        if chance.random() < 0.1:
            cited = FileCitationSource(file_id="file-1", quote="q")
            mark = FileCitationDelta(index=marks, text="【1】", file_citation=cited, start_index=0, end_index=3)
            log.append(_text(pictures, value="【1】", annotations=[mark]))
            marks += 1
        else:
            log.append(_text(pictures, value=chance.choice(WORDS)))
    for _ in range(chance.choice((0, 0, 5))):
        log.append(_message(RefusalContentDelta(index=pictures + 1, refusal=chance.choice(WORDS))))
    return log


def a_called_log(chance: random.Random) -> Log:
    """Calls of all kinds, their pieces one call behind another or mixed; then what code has printed and shown."""
    log: Log = [("thread.run.step.created", STEP)]
    kinds = [chance.choice(("function", "code", "search")) for _ in range(chance.randrange(1, 4))]
    pieces: list[list[tuple[str, Any]]] = []
    for index, kind in enumerate(kinds):
        if kind == "function":
            function = FunctionPiece(name="f", arguments="", output=None)
            begun = FunctionCallDelta(index=index, id=f"call_{index}", function=function)
            rest = [FunctionCallDelta(index=index, function=FunctionPiece(arguments=word)) for word in _words(chance)]
        elif kind == "code":
            code = CodePiece(input="", outputs=[])
            begun = CodeInterpreterDelta(index=index, id=f"call_{index}", code_interpreter=code)
            rest = [
                CodeInterpreterDelta(index=index, code_interpreter=CodePiece(input=word)) for word in _words(chance)
            ]
        else:
            begun, rest = FileSearchDelta(index=index, id=f"call_{index}"), []
        log.append(_step(begun))
        pieces.append([_step(delta) for delta in rest])
    if chance.random() < 0.3:
        while some := [each for each in pieces if each]:
            log.append(chance.choice(some).pop(0))
    log += [piece for each in pieces for piece in each]
    for index, kind in enumerate(kinds):
        if kind == "code":
            log += _outputs(chance, index)
    return log


def _words(chance: random.Random) -> list[str]:
    return [chance.choice(WORDS) for _ in range(chance.randrange(8))]


def _outputs(chance: random.Random, index: int) -> Log:
    outputs: list[LogsDelta | ImageDelta] = []
    for number in range(chance.randrange(4)):
        if number % 2:
            outputs.append(ImageDelta(index=number, image=ImageReference(file_id="file-2")))
        else:
            outputs += [LogsDelta(index=number, logs=word) for word in ["begins ", *_words(chance)]]
    return [
        _step(CodeInterpreterDelta(index=index, code_interpreter=CodePiece(outputs=[output]))) for output in outputs
    ]


def stored(log: Log, chance: random.Random) -> list[Event]:
    """As the store has it, with the gaps that retracted events have left."""
    seqs = sorted(chance.sample(range(1, len(log) + 4), len(log)))
    return [Event(seq, name, msgspec.json.encode(data)) for seq, (name, data) in zip(seqs, log, strict=True)]  # type: ignore[arg-type]


def folded(events: list[Event], chance: random.Random) -> list[Event]:
    folding, first = Folding(), 0
    while first < len(events):
        last = first + chance.randrange(1, 9)
        folding.take(events[first:last])
        first = last
    return list(folding.events())


def rebuilt(events: Iterable[Event]) -> Any:
    """The snapshot that the SDK has behind these events."""
    message: Any = None
    steps: dict[str, Any] = {}
    for event in events:
        parsed: Any = sdk.construct_type(
            type_=sdk.AssistantStreamEvent, value={"event": event.name, "data": msgspec.json.decode(event.data)}
        )
        if event.name.startswith("thread.run.step"):
            sdk.accumulate_run_step(event=parsed, run_step_snapshots=steps)
        else:
            message, _ = sdk.accumulate_event(event=parsed, current_message_snapshot=message)
    return steps["step_1"].to_dict() if message is None else message.to_dict()


@pytest.mark.parametrize("seed", range(20))
def test_what_is_rebuilt_is_the_same_from_any_event_on(seed: int) -> None:
    warnings.simplefilter("ignore", DeprecationWarning)
    chance = random.Random(seed)
    events = stored((a_spoken_log if seed % 2 else a_called_log)(chance), chance)
    few = folded(events, chance)
    whole = rebuilt(events)
    assert rebuilt(few) == whole
    assert few[-1].seq == events[-1].seq
    for place, heard in enumerate(events[:-1], start=1):
        rest = [behind(event, heard.seq) for event in few if event.seq > heard.seq]
        assert rebuilt([*events[:place], *rest]) == whole, f"behind event {heard.seq}"
        assert rest[-1].seq == events[-1].seq


def test_neighbours_become_one() -> None:
    log = [_text(0, value="It ", annotations=[]), *[_text(0, value="rains. ") for _ in range(5)]]
    events = [Event(seq, "thread.message.delta", msgspec.json.encode(data)) for seq, (_, data) in enumerate(log, 7)]
    (one,) = folded(events, random.Random(1))
    assert (one.seq, one.pieces) == (12, (3, 7, 7, 7, 7, 7))
    (part,) = msgspec.json.decode(one.data)["delta"]["content"]
    assert part == {"type": "text", "index": 0, "text": {"value": "It " + "rains. " * 5, "annotations": []}}
    rest = behind(one, 10)
    assert (rest.seq, rest.pieces) == (12, (7, 7))
    assert msgspec.json.decode(rest.data)["delta"]["content"][0]["text"] == {"value": "rains. rains. "}
    assert behind(one, 6) == one


def test_what_is_no_delta_of_ours_stays_as_it_is() -> None:
    events = [Event(1, "thread.message.delta", b"{"), Event(2, "thread.message.delta", b'{"id": 5}')]
    events += [Event(3, "thread.run.completed", b"{}"), Event(4, "thread.run.completed", b"{}")]
    assert folded(events, random.Random(1)) == events
