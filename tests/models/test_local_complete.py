"""Legacy completions on the real local model: every parameter, and the numbers held against each other."""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types import Completion

from everloom.kit.errors import ApiError, BadRequest
from everloom.models.completion_text import Token
from everloom.models.files.weights import MINILM
from everloom.models.llama.backend import LlamaBackend
from everloom.models.llama.cutter import Cutter
from tests.models.gguf_bert import write_gguf
from tests.models.local_model import NAME, Local, loaded
from tests.weights import default_gguf, default_weights

FRANCE = "The capital of France is"
FRANCE_TOKENS = [504, 3575, 282, 4649, 314]
"""As the default model's tokenizer cuts it."""


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    with loaded(slots=2, context=512) as local:
        yield local


async def said(local: Local, **body: Any) -> bytes:
    answer = await local.backend.complete({"model": NAME, "temperature": 0, **body})
    try:
        return b"".join([block async for block in answer.blocks()])
    finally:
        await answer.close()


def complete(local: Local, **body: Any) -> Completion:
    """The whole answer, held against the official SDK's own type."""
    told = json.loads(local.run(said(local, **body)))
    assert list(told) == ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"]
    return Completion.model_validate(told, strict=True)


def whole(local: Local, **body: Any) -> dict[str, Any]:
    """The whole answer as it is: the first of a prompt's own log probabilities is null, which the SDK's type forgot."""
    found: dict[str, Any] = json.loads(local.run(said(local, **body)))
    return found


def streamed(local: Local, **body: Any) -> list[dict[str, Any]]:
    *events, done, rest = local.run(said(local, stream=True, **body)).decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def refused(local: Local, **body: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        local.run(said(local, **body))
    assert caught.value.status == 400
    return caught.value


def test_a_prompt_goes_on_without_a_chat_template(local: Local) -> None:
    told = complete(local, prompt=FRANCE)
    assert told.choices[0].text.startswith(" Paris")
    assert (told.choices[0].finish_reason, told.choices[0].logprobs) == ("length", None)
    assert told.usage is not None
    assert (told.usage.prompt_tokens, told.usage.completion_tokens, told.usage.total_tokens) == (5, 16, 21)
    assert told.id.startswith("cmpl-")


def test_the_four_forms_of_a_prompt_say_the_same(local: Local) -> None:
    forms: list[Any] = [FRANCE, [FRANCE], FRANCE_TOKENS, [FRANCE_TOKENS]]
    texts = {complete(local, prompt=form, max_tokens=4, echo=True).choices[0].text for form in forms}
    assert len(texts) == 1
    assert texts.pop().startswith(FRANCE + " Paris")


def test_choices_are_numbered_prompt_by_prompt(local: Local) -> None:
    told = complete(local, prompt=["One", "Two", "Three"], n=2, echo=True, max_tokens=3, temperature=1, seed=5)
    assert [choice.index for choice in told.choices] == list(range(6))
    assert [choice.text[:3] for choice in told.choices] == ["One", "One", "Two", "Two", "Thr", "Thr"]
    assert told.usage is not None
    assert (told.usage.prompt_tokens, told.usage.completion_tokens) == (3, 18)


def test_a_seed_repeats_and_its_choices_differ(local: Local) -> None:
    def texts(**more: Any) -> list[str]:
        asked = {"prompt": "Once", "n": 2, "temperature": 1, "max_tokens": 12, **more}
        return [choice.text for choice in complete(local, **asked).choices]

    assert texts(seed=7) == texts(seed=7)
    assert texts(seed=-(2**63)) == texts(seed=-(2**63))
    assert len({*texts(seed=7), *texts(seed=9)}) == 4


def test_a_stream_is_the_whole_answer_in_pieces(local: Local) -> None:
    asked: dict[str, Any] = {"prompt": ["One,", "A, B,"], "n": 2, "echo": True, "logprobs": 1, "max_tokens": 6}
    told = whole(local, **asked)
    chunks = streamed(local, stream_options={"include_usage": True}, **asked)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == told["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    for choice in told["choices"]:
        pieces = [chunk["choices"][0] for chunk in chunks[:-1] if chunk["choices"][0]["index"] == choice["index"]]
        assert "".join(piece["text"] for piece in pieces) == choice["text"]
        ends = [piece["finish_reason"] for piece in pieces]
        assert ends == [None] * (len(pieces) - 1) + [choice["finish_reason"]]
        for field in ("tokens", "text_offset"):
            assert [item for piece in pieces for item in piece["logprobs"][field]] == choice["logprobs"][field]


# --- log probabilities ---------------------------------------------------------------------------------------------


def test_log_probabilities_of_an_answer(local: Local) -> None:
    choice = complete(local, prompt=FRANCE, max_tokens=4, logprobs=3).choices[0]
    found = choice.logprobs
    assert found is not None
    assert found.tokens is not None
    assert found.token_logprobs is not None
    assert found.top_logprobs is not None
    assert "".join(found.tokens) == choice.text
    assert found.text_offset == [24 + len("".join(found.tokens[:index])) for index in range(4)]
    for token, logprob, top in zip(found.tokens, found.token_logprobs, found.top_logprobs, strict=True):
        assert len(top) == 3
        assert list(top.values()) == sorted(top.values(), reverse=True)
        assert top[token] == logprob == max(top.values())  # temperature 0


def test_none_asked_for_is_the_taken_one_alone(local: Local) -> None:
    found = complete(local, prompt=FRANCE, max_tokens=2, logprobs=0).choices[0].logprobs
    assert found is not None
    assert found.tokens is not None
    assert found.top_logprobs == [
        {token: logprob} for token, logprob in zip(found.tokens, found.token_logprobs or [], strict=True)
    ]


def test_a_rare_token_stands_beside_the_likeliest(local: Local) -> None:
    paris = 7042
    found = complete(local, prompt=FRANCE, max_tokens=1, logprobs=1, logit_bias={str(paris): -100}).choices[0].logprobs
    assert found is not None
    assert found.top_logprobs is not None
    assert found.tokens != [" Paris"]
    assert len(found.top_logprobs[0]) == 2


def test_the_prompts_own_log_probabilities(local: Local) -> None:
    """What the model says of its own words is what it says of them when they are the prompt."""
    first = complete(local, prompt=FRANCE, max_tokens=12, logprobs=2).choices[0]
    told = whole(local, prompt=FRANCE + first.text, max_tokens=0, logprobs=2, echo=True)
    (choice,) = told["choices"]
    assert (choice["text"], choice["finish_reason"]) == (FRANCE + first.text, "length")
    assert told["usage"] == {"prompt_tokens": 17, "completion_tokens": 0, "total_tokens": 17}
    assert first.logprobs is not None
    scores = choice["logprobs"]
    assert scores["token_logprobs"][0] is None
    assert scores["top_logprobs"][0] is None
    assert scores["tokens"][5:] == first.logprobs.tokens
    assert scores["text_offset"][5:] == first.logprobs.text_offset
    for one, other in zip(scores["token_logprobs"][5:], first.logprobs.token_logprobs or [], strict=True):
        assert math.isclose(one, other, abs_tol=0.05)


def test_a_window_full_of_tokens_is_scored(local: Local) -> None:
    scores = whole(local, prompt=[504] * 512, max_tokens=0, logprobs=1, echo=True)
    assert len(scores["choices"][0]["logprobs"]["tokens"]) == 512


def test_a_prompt_with_ends_of_texts_in_it_is_scored(local: Local) -> None:
    prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    (choice,) = whole(local, prompt=prompt, max_tokens=0, logprobs=1, echo=True)["choices"]
    assert "".join(choice["logprobs"]["tokens"]) == prompt
    assert all(logprob < 0 for logprob in choice["logprobs"]["token_logprobs"][1:])


def test_characters_of_several_tokens_are_not_scored(local: Local) -> None:
    error = refused(local, prompt="It rains 😀", echo=True, logprobs=1)
    assert (error.param, error.code) == ("logprobs", "unsupported_parameter")
    assert complete(local, prompt="It rains 😀", echo=True, max_tokens=1).choices[0].text.startswith("It rains 😀")


def test_the_best_of_several(local: Local) -> None:
    asked: dict[str, Any] = {"prompt": ["A story:", "x"], "temperature": 1, "seed": 3, "max_tokens": 8, "logprobs": 0}

    def means(**more: Any) -> list[float]:
        return [
            sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)
            for choice in complete(local, **asked, **more).choices
            if choice.logprobs is not None and choice.logprobs.token_logprobs
        ]

    all_of_them = means(n=4)
    best = means(n=2, best_of=4)
    expected = sorted(all_of_them[:4], reverse=True)[:2] + sorted(all_of_them[4:], reverse=True)[:2]
    assert best == pytest.approx(expected, abs=0.05)
    told = complete(local, **{**asked, "logprobs": None}, n=1, best_of=4)
    assert [choice.logprobs for choice in told.choices] == [None, None]
    assert told.usage is not None
    assert told.usage.completion_tokens == 64


# --- stops and limits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [" 8", "8,", [", 8", "never"], [" 9", " 8, 9"]])
def test_a_stop_sequence_is_not_told(local: Local, stop: Any) -> None:
    for more in ({}, {"logprobs": 1}):
        choice = complete(local, prompt="1, 2, 3, 4, 5,", stop=stop, max_tokens=40, **more).choices[0]
        assert choice.finish_reason == "stop"
        assert choice.text.startswith(" 6, 7")
        assert not any(one in choice.text for one in ([stop] if isinstance(stop, str) else stop))
        assert choice.logprobs is None or "".join(choice.logprobs.tokens or []).startswith(choice.text)
    pieces = streamed(local, prompt="1, 2, 3, 4, 5,", stop=stop, max_tokens=40)
    assert "".join(piece["choices"][0]["text"] for piece in pieces) == choice.text


def test_the_models_own_end(local: Local) -> None:
    prompt = "<|im_start|>user\nSay hi<|im_end|>\n<|im_start|>assistant\n"
    choice = complete(local, prompt=prompt, max_tokens=80, logprobs=1).choices[0]
    assert choice.finish_reason == "stop"
    assert choice.logprobs is not None
    assert "".join(choice.logprobs.tokens or []) == choice.text


def test_nothing_to_begin_with(local: Local) -> None:
    """Without a prompt the model begins a new text."""
    for prompt in ("", None, [""]):
        told = complete(local, prompt=prompt, max_tokens=3, echo=True, logprobs=1)
        assert told.usage is not None
        assert told.usage.prompt_tokens == 1
        logprobs = told.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.text_offset is not None
        assert (len(logprobs.tokens or []), logprobs.text_offset[0]) == (3, 0)


def test_what_does_not_fit(local: Local) -> None:
    for prompt, most in (
        ("a " * 600, 5),
        ("a " * 1_000_000, 5),
        ([504] * 513, 0),
        ("a", 512),
        (["a", [504] * 500][1], 13),
    ):
        error = refused(local, prompt=prompt, max_tokens=most)
        assert error.code == "context_length_exceeded"
        assert error.message.startswith("This model's maximum context length is 512 tokens, however you requested ")
    assert complete(local, prompt=[504] * 496).choices[0].finish_reason in ("length", "stop")


@pytest.mark.parametrize("tokens", [[49152], [2**31 - 1], [504, 10**6]])
def test_tokens_that_the_model_does_not_have(local: Local, tokens: list[int]) -> None:
    error = refused(local, prompt=tokens, max_tokens=1)
    assert (error.param, error.code) == ("prompt", "invalid_value")


def test_what_it_cannot_do(local: Local) -> None:
    error = refused(local, prompt="a", suffix="b")
    assert (error.param, error.code) == ("suffix", "unsupported_parameter")
    assert "fill in a gap" in error.message
    assert refused(local, prompt="a", made_up=1).param == "made_up"


def test_penalties_and_biases_do_something(local: Local) -> None:
    plain = complete(local, prompt=FRANCE, max_tokens=60).choices[0].text
    for penalty in ("frequency_penalty", "presence_penalty"):
        assert complete(local, prompt=FRANCE, max_tokens=60, **{penalty: 2}).choices[0].text != plain
    assert "Paris" not in complete(local, prompt=FRANCE, max_tokens=1, logit_bias={"7042": -100}).choices[0].text
    assert complete(local, prompt=FRANCE, max_tokens=4, temperature=2, top_p=0).choices[0].text.startswith(" Paris")


def test_a_model_for_vectors_does_not_complete(tmp_path: Path) -> None:
    write_gguf(tmp_path / "own.gguf", *default_weights().fetch(MINILM))
    with asyncio.Runner() as runner:
        backend = LlamaBackend({"own": tmp_path / "own.gguf"}, default_weights())
        assert "complete" not in backend.capabilities("own")
        with pytest.raises(BadRequest, match="makes embeddings"):
            runner.run(backend.complete({"model": "own", "prompt": "a"}))
        runner.run(backend.close())


# --- filling in ----------------------------------------------------------------------------------------------------


def test_a_model_with_marks_for_a_gap_fills_it_in(tmp_path: Path) -> None:
    """The default model's file, three of its unused tokens renamed to the marks of another family: same lengths."""
    data = default_gguf().read_bytes()
    for old, new in (
        (b"jupyter_text", b"|fim_prefix|"),
        (b"jupyter_code", b"|fim_suffix|"),
        (b"empty_output", b"|fim_middle|"),
    ):
        assert data.count(b"<%b>" % old) >= 1
        data = data.replace(b"<%b>" % old, b"<%b>" % new, 1)
    path = tmp_path / "fills-in.gguf"
    path.write_bytes(data)
    with loaded(path=path, slots=1, context=256) as local:
        told = complete(local, prompt="def add(a, b):\n", suffix="\n\nprint(add(1, 2))", max_tokens=4)
        plain = complete(local, prompt="def add(a, b):\n\n\nprint(add(1, 2))", max_tokens=4)
        assert told.usage is not None
        assert plain.usage is not None
        assert told.usage.prompt_tokens > plain.usage.prompt_tokens
        assert told.usage.completion_tokens == 4
        tokens = complete(local, prompt=FRANCE_TOKENS, suffix=".", max_tokens=1)
        assert tokens.usage is not None
        assert tokens.usage.prompt_tokens == 5 + 3 + 1


# --- leaving -------------------------------------------------------------------------------------------------------


def test_a_closed_answer_frees_every_slot(local: Local) -> None:
    async def leave_and_ask() -> float:
        body = {"model": NAME, "prompt": ["a"] * 50, "n": 4, "max_tokens": 400, "stream": True}
        answer = await local.backend.complete(body)
        blocks = answer.blocks()
        await anext(blocks)
        await answer.close()
        since = time.monotonic()
        await said(local, prompt="Hi", max_tokens=1)
        return time.monotonic() - since

    assert local.run(leave_and_ask()) < 5  # the two hundred answers would take minutes


def test_an_abandoned_request_frees_every_slot(local: Local) -> None:
    async def abandon_and_ask() -> bytes:
        task = asyncio.create_task(said(local, prompt=["a"] * 50, max_tokens=400, logprobs=1, echo=True, best_of=4))
        await asyncio.sleep(0.5)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return await asyncio.wait_for(said(local, prompt="Hi", max_tokens=1), 5)

    assert b"text_completion" in local.run(abandon_and_ask())


# --- the cutter ----------------------------------------------------------------------------------------------------


def cut(stops: list[str], *texts: str) -> tuple[list[str], list[str]]:
    cutter = Cutter(stops)
    told, tokens = [], []
    for text in texts:
        out, named = cutter.feed(text, Token(text=text, logprob=-1.0))
        told.append(out)
        tokens += [token.text for token in named]
        if cutter.stopped:
            return told, tokens
    out, named = cutter.end()
    return [*told, out], tokens + [token.text for token in named]


@pytest.mark.parametrize(
    ("stops", "texts", "told", "tokens"),
    [
        ([], ["a", "b"], ["a", "b", ""], ["a", "b"]),
        (["xyz"], ["ax", "y", "b"], ["a", "", "xyb", ""], ["ax", "y", "b"]),
        (["xyz"], ["ax", "y", "zb"], ["a", "", ""], ["ax"]),
        (["xyz"], ["x", "y"], ["", "", "xy"], ["x", "y"]),
        (["b", "ab"], ["a", "b"], ["", ""], []),
        (["aab"], ["a", "a", "a", "b"], ["", "", "a", ""], ["a"]),
        (["."], ["one. two"], ["one"], ["one. two"]),
        (["."], [".", "x"], [""], []),
        (["c"], ["a", "", "b", "c"], ["a", "", "b", ""], ["a", "", "b"]),
    ],
)
def test_what_may_become_a_stop_is_held_back(
    stops: list[str], texts: list[str], told: list[str], tokens: list[str]
) -> None:
    assert cut(stops, *texts) == (told, tokens)
