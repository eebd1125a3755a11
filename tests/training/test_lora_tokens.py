"""A text is the same tokens to the trainer as to the engine that serves the tuned model, whatever is in it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from everloom.models.llama import request
from everloom.models.llama.engine import LlamaEngine
from everloom.models.llama.request import TemplateFeatures
from everloom.training.lora.examples import prepare
from everloom.training.lora.gguf_model import read_model
from tests.models.gguf_template import KNOWS_TOOLS, with_template
from tests.training.lines import write_lines
from tests.weights import default_gguf

pytest.importorskip("jinja2", reason="renders chat templates, as the trainer does")
pytest.importorskip("tokenizers", reason="finds tokens, as the trainer does")

from everloom.training.lora.sequences import read_examples
from everloom.training.lora.tokens import Texts

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "wo? „dort“"}, "unit": {"enum": ["c", "f"]}},
                "required": ["city"],
            },
        },
    }
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Zürich"}'}}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


CONVERSATIONS: list[dict[str, Any]] = [
    {"messages": [user("Hello!")]},
    {"messages": [{"role": "system", "content": "Be brief."}, user("In 2024, 12345 cats & 3.14159 dogs.")]},
    {"messages": [{"role": "developer", "content": ""}, user("  spaces   \n\n\ttabs\r\n ")]},
    {"messages": [user("don't we'll I'VE it's"), assistant("Yes. "), user(" no")]},
    {"messages": [user("é漢字かな🙂👩‍👩‍👧 עברית ไทย \u00a0\u2003x"), assistant("ça va"), user("?")]},
    {"messages": [user("<|im_end|> <|im_start|>system\nx<|endoftext|><| im_end|>")]},
    {"messages": [user('{"a": [1, 2, {"b": null}]} <tool_call> </tool_call>')]},
    {"messages": [user("def f(x):\n    return x ** 2  # ok\n\n\n")]},
    {"messages": [user([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}])]},
    {"messages": [user("Weather?")], "tools": TOOLS},
    {
        "messages": [
            {"role": "system", "content": "Help."},
            user("Weather in Zürich?"),
            assistant(None, tool_calls=[CALL]),
            {"role": "tool", "tool_call_id": "call_1", "content": '{"t": "21 °C"}'},
            assistant("It is 21 °C."),
            user("Thanks"),
        ],
        "tools": TOOLS,
    },
    {"messages": [user("Weather?")], "functions": [TOOLS[0]["function"]]},
]


@pytest.fixture(scope="module")
def template_of_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model, made to say that it knows tools."""
    return with_template(default_gguf(), tmp_path_factory.mktemp("model") / "tools.gguf", KNOWS_TOOLS)


@pytest.mark.parametrize("knows_tools", [False, True])
def test_prompts_are_those_of_the_engine(knows_tools: bool, template_of_tools: Path) -> None:
    path = template_of_tools if knows_tools else default_gguf()
    texts = Texts(read_model(path))

    async def compare() -> None:
        engine = LlamaEngine(path, slots=1, context=2048)
        try:
            facts = await engine.ready()
            assert (
                (texts.knows_tools, texts.marks_calls) == (facts.knows_tools, facts.marks_calls) == (knows_tools,) * 2
            )
            assert facts.end_token in texts.ends
            features = TemplateFeatures(knows_tools=facts.knows_tools, marks_calls=facts.marks_calls)
            for body in CONVERSATIONS:
                shown = request.prompt(body, features)
                text = (await engine.ask("/apply-template", shown))["prompt"]
                tools = (shown.get("chat_template_kwargs") or shown).get("tools")
                assert texts.render(shown["messages"], tools, answer=True) == text
                for begins in (True, False):
                    asked = {"content": text, "add_special": begins, "parse_special": True}
                    assert texts.encode(text, begins=begins) == (await engine.ask("/tokenize", asked))["tokens"]
        finally:
            await engine.close()

    asyncio.run(compare())


def learned(path: Path, folder: Path, line: dict[str, Any], method: Any = "supervised") -> list[tuple[str, list[str]]]:
    """Of each sequence of a line its text, and the texts that are learned."""
    texts = Texts(read_model(path))
    features = TemplateFeatures(knows_tools=texts.knows_tools, marks_calls=texts.marks_calls)
    source, target = write_lines(folder / "lines", [line]), folder / "prepared"
    prepare(source, target, method, features, "training_file")
    found = read_examples(target, texts, 2048)
    decode = texts._tokenizer.decode
    return [
        (
            decode(list(sequence.ids), skip_special_tokens=False),
            [decode(list(sequence.ids[start:end]), skip_special_tokens=False) for start, end in sequence.spans],
        )
        for example in found.items
        for sequence in example
    ]


def test_answers_are_learned_to_their_end_and_no_others(tmp_path: Path) -> None:
    turns = [
        user("1"),
        assistant("one"),
        user("2"),
        assistant("two", weight=0),
        user("3"),
        assistant("three", weight=1),
    ]
    ((text, said),) = learned(default_gguf(), tmp_path, {"messages": turns})
    assert said == ["one<|im_end|>", "three<|im_end|>"]
    assert text.endswith("<|im_start|>user\n3<|im_end|>\n<|im_start|>assistant\nthree<|im_end|>\n")


@pytest.mark.parametrize("knows_tools", [False, True])
def test_calls_are_learned_as_they_are_written_and_read(
    knows_tools: bool, template_of_tools: Path, tmp_path: Path
) -> None:
    path = template_of_tools if knows_tools else default_gguf()
    turns = [*CONVERSATIONS[10]["messages"][:-1]]
    ((_, said),) = learned(path, tmp_path, {"messages": turns, "tools": TOOLS})
    call = '<tool_call>{"name": "get_weather", "arguments": {"city": "Zürich"}}</tool_call>'
    if knows_tools:  # its template has lines of its own around a call, and none before one where there is no text
        call = call.replace("<tool_call>", "<tool_call>\n").replace("</tool_call>", "\n</tool_call>")
    assert said == [call + "<|im_end|>", "It is 21 °C.<|im_end|>"]


def test_completions_and_preferences(tmp_path: Path) -> None:
    path = default_gguf()
    line = {"prompt": "Roses are", "completion": " red."}
    assert learned(path, tmp_path, line) == [("Roses are red.<|im_end|>", [" red.<|im_end|>"])]
    pair = {
        "input": {"messages": [user("a"), assistant("b"), user("c")]},
        "preferred_output": [assistant("yes")],
        "non_preferred_output": [assistant("no")],
    }
    (_, good), (_, bad) = learned(path, tmp_path, pair, "dpo")
    assert (good, bad) == (["yes<|im_end|>"], ["no<|im_end|>"])


def test_a_template_that_rewrites_earlier_turns_gives_a_sequence_each(tmp_path: Path) -> None:
    template = """{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == 'assistant' and loop.last %}(thought) {% endif %}{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
    path = with_template(default_gguf(), tmp_path / "thinks.gguf", template)
    turns = [user("1"), assistant("one"), user("2"), assistant("two")]
    made = learned(path, tmp_path, {"messages": turns})
    assert [said for _, said in made] == [["(thought) one<|im_end|>"], ["(thought) two<|im_end|>"]]
    assert "(thought) one" not in made[1][0]


def test_long_examples_lose_their_end_and_hopeless_ones_are_left_out(tmp_path: Path) -> None:
    texts = Texts(read_model(default_gguf()))
    lines = [
        {"turns": [user("a"), assistant("b")], "tools": None, "learned": [1]},
        {"turns": [user("a"), assistant("word " * 100)], "tools": None, "learned": [1]},
        {"turns": [user("word " * 100), assistant("b")], "tools": None, "learned": [1]},
        {"turns": [user("a"), assistant("b")], "tools": None, "learned": []},
    ]
    path = tmp_path / "prepared"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_examples(path, texts, 60)
    assert (len(found.items), found.truncated, found.skipped) == (2, 2, 2)
    assert [len(example[0].ids) for example in found.items] == [found.lengths()[0], 60]
    assert found.items[1][0].spans[-1][1] == 60
