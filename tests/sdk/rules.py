"""What the scripted upstream answers while a walk talks to the server: chosen by what the user said last.

A walk is a program of its own and cannot hold the upstream's script, so it says what it wants in the
user's words ("call weather for Oslo and Bergen") and this rule does what a model would.
"""

import re

from tests.replies import Calls, Fails, Hangs, Json, Reply, Says, Slow, text_of

POEM = " ".join(f"line{number}" for number in range(1, 41))


def answer(body: Json) -> Reply | None:
    """The reply to a chat request; None leaves it to the upstream's default, which says the words back."""
    messages = body["messages"]
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=-1)
    if last < 0:
        return None
    words = text_of(messages[last])
    since = messages[last + 1 :]
    for pattern, reply in _RULES:
        if (found := re.search(pattern, words)) is not None:
            return reply(found, body, [text_of(message) for message in since if message["role"] == "tool"])
    return None


def _weather(found: re.Match[str], body: Json, outputs: list[str]) -> Reply:
    """Ask for every city at once; with "then compare", a second round with one call; then tell."""
    cities = found[1].split(" and ")
    if not outputs:
        return Calls(*(("weather", {"city": city}) for city in cities))
    if found[2] and len(outputs) == len(cities):
        return Calls(("compare", {"reports": outputs}), text="Let me compare.")
    return Says("I heard: " + "; ".join(outputs))


def _steps(found: re.Match[str], body: Json, outputs: list[str]) -> Reply:
    """Say something and call, so many times: two steps in every round."""
    if len(outputs) == int(found[1]):
        return Says("Done.")
    return Calls(("weather", {"city": f"City {len(outputs)}"}), text=f"Round {len(outputs)}.")


def _recital(found: re.Match[str], body: Json, outputs: list[str]) -> Reply:
    return Says(" | ".join(f"{message['role']}: {text_of(message)}" for message in body["messages"]))


def _search(found: re.Match[str], body: Json, outputs: list[str]) -> Reply:
    """Look for it, then cite the first passage."""
    if not outputs:
        return Calls(("file_search", {"query": found[1]}))
    marks = re.findall("【[^】]+】", outputs[-1])
    return Says(f"It is the Albatross{marks[0]}." if marks else "I found nothing.")


_SUM = """import pandas as pd
import matplotlib.pyplot as plt
data = pd.read_csv("/mnt/data/{name}")
data.plot()
plt.show()
open("/mnt/data/sum.txt", "w").write(str(data["number"].sum()))
print(data["number"].sum())"""


def _code(found: re.Match[str], body: Json, outputs: list[str]) -> Reply:
    """Run code over a file, then name what it wrote."""
    if not outputs:
        return Calls(("code_interpreter", {"code": _SUM.format(name=found[1])}))
    return Says("It is 42: [sum](sandbox:/mnt/data/sum.txt).")


_RULES = (
    (r"^search for (.+)$", _search),
    (r"^add up and plot (.+)$", _code),
    (r"^call weather for (.+?)(, then compare)?$", _weather),
    (r"^take (\d+) rounds$", _steps),
    (r"^recite", _recital),
    (r"^a poem$", lambda found, body, outputs: Says(POEM)),
    (r"^a slow poem$", lambda found, body, outputs: Slow(0.15, Says(POEM))),
    (r"^begin and hang$", lambda found, body, outputs: Hangs(4, Says(POEM))),
    (r"^hang$", lambda found, body, outputs: Hangs()),
    (r"^fail with (\d+)$", lambda found, body, outputs: Fails(int(found[1]))),
)
