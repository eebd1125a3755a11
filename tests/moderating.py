"""Moderations as the scripted upstream gives them: an input that has the word "hurt" is flagged."""

import json
from typing import Any

from aiohttp import web

from everloom.objects.moderations import CATEGORIES
from tests.scripted import Request


def moderated(request: Request) -> web.StreamResponse:
    """Answers ``upstream.serve("/moderations", moderated)``."""
    given = request.body["input"]
    strings = isinstance(given, list) and isinstance(given[0], str)
    inputs = given if strings else [given]
    answer = {"id": "modr-scripted", "model": request.body["model"], "results": [result(item) for item in inputs]}
    return web.json_response(answer)


def result(item: Any) -> dict[str, Any]:
    """One result of the platform's form."""
    violent = "hurt" in json.dumps(item)
    scores = {name: 0.9 if violent and name == "violence" else 0.01 for name in CATEGORIES}
    return {
        "flagged": violent,
        "categories": {name: score > 0.5 for name, score in scores.items()},
        "category_scores": scores,
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }
