"""What ``quality.py`` asks. None of it was used to choose a prompt or a model."""

from typing import Any


def _function(name: str, description: str, required: int, **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:required]}
    return {"name": name, "description": description, "parameters": parameters}


_TEXT = {"type": "string"}

FUNCTIONS = [
    _function(
        "get_weather", "Get the current weather of a city", 1, city=_TEXT, unit={"enum": ["celsius", "fahrenheit"]}
    ),
    _function("multiply", "Multiply two numbers", 2, a={"type": "number"}, b={"type": "number"}),
    _function("send_mail", "Send an e-mail to somebody", 2, to=_TEXT, text=_TEXT, subject=_TEXT),
    _function("play_song", "Play a song by its title", 1, title=_TEXT, artist=_TEXT),
]

TOOLS: list[tuple[str, tuple[str, dict[str, Any]] | None]] = [
    ("What is the weather like in Oslo right now?", ("get_weather", {"city": "Oslo"})),
    ("Do I need an umbrella in Lisbon today?", ("get_weather", {"city": "Lisbon"})),
    ("Tell me today's temperature in Cairo in fahrenheit.", ("get_weather", {"city": "Cairo", "unit": "fahrenheit"})),
    ("How much is 23 times 19?", ("multiply", {"a": 23, "b": 19})),
    ("Multiply 4.5 by 12.", ("multiply", {"a": 4.5, "b": 12})),
    ("Write to anna@example.com that I will be late.", ("send_mail", {"to": "anna@example.com"})),
    ("Send bob@example.com an e-mail with the text Happy birthday.", ("send_mail", {"to": "bob@example.com"})),
    ("Play Yesterday by the Beatles.", ("play_song", {"title": "Yesterday"})),
    ("I would like to hear the song Imagine.", ("play_song", {"title": "Imagine"})),
    ("Hello, how are you?", None),
    ("Who wrote Romeo and Juliet?", None),
    ("Thank you, that was all.", None),
]
"""A question, and the call that answers it: arguments that it has to have. None: no function does."""

_PERSON = {
    "type": "object",
    "properties": {"name": _TEXT, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
_FRUITS = {
    "type": "object",
    "properties": {"fruits": {"type": "array", "items": _TEXT, "minItems": 3, "maxItems": 3}},
    "required": ["fruits"],
}
_MOOD = {"type": "object", "properties": {"mood": {"enum": ["good", "bad", "neutral"]}}, "required": ["mood"]}

FORMS: list[tuple[str, dict[str, Any] | None]] = [
    ("Anna is 31 years old. Give name and age.", _PERSON),
    ("Make up a person.", _PERSON),
    ("Name three fruits.", _FRUITS),
    ("What is the mood of: I love this!", _MOOD),
    ("Give the capital and the population of France as a JSON object.", None),
    ("Give a JSON object with the keys a and b.", None),
]
"""A question, and the schema of its answer; None: any object."""

EXACT = [
    ("What is the capital of France?", "Paris"),
    ("What is the capital of Japan?", "Tokyo"),
    ("Who wrote Romeo and Juliet?", "Shakespeare"),
    ("What is 7 plus 5?", "12"),
    ("What is 9 times 8?", "72"),
    ("How many days has a week?", "7|seven"),
    ("What is the chemical formula of water?", "H2O|H₂O"),
    ("Which planet is the largest of our solar system?", "Jupiter"),
    ("What is the opposite of hot?", "cold"),
    ("In which year did the first human walk on the Moon?", "1969"),
]
"""A question, and a pattern that its answer has to hold."""

SENTENCES = [
    "The library opens at nine in the morning and closes at eight in the evening.",
    "Please send the documents to the office before Friday.",
    "The weather in the mountains changes faster than you would think.",
    "She bought three apples, a loaf of bread and some cheese.",
    "Our train leaves from platform seven in twenty minutes.",
    "He could not remember where he had parked the car.",
    "The meeting has been moved to the second week of October.",
    "A small boat was lying on the shore of the lake.",
]
