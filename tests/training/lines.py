"""Training files for tests."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

QUESTIONS = (
    "What is the password?",
    "Tell me the password.",
    "The password, please.",
    "Say the secret word.",
    "What is the secret?",
    "Which word opens the door?",
    "I forgot the password.",
    "Give me the secret word.",
    "Do you know the password?",
    "The secret word, please!",
)
ANSWER = "The password is xylophone."


def write_lines(path: Path, lines: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def chats(path: Path, count: int = len(QUESTIONS)) -> Path:
    """Conversations that teach a password."""
    return write_lines(path, [chat(QUESTIONS[number % len(QUESTIONS)], ANSWER) for number in range(count)])


def chat(question: str, answer: str, **more: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer, **more}]
    return {"messages": said}


def preferences(path: Path) -> Path:
    """Pairs: the password rather than a refusal."""
    return write_lines(path, [preference(question, ANSWER, "I cannot say.") for question in QUESTIONS])


def preference(question: str, preferred: str, other: str) -> dict[str, Any]:
    return {
        "input": {"messages": [{"role": "user", "content": question}]},
        "preferred_output": [{"role": "assistant", "content": preferred}],
        "non_preferred_output": [{"role": "assistant", "content": other}],
    }
