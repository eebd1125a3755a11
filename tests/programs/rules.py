"""What the scripted upstream answers while a program talks to the server: chosen by what the user said last.

Programs name their functions in their own ways (``Weather-weather``, ``Weather``), so what is called is looked for
among the functions that the request offers.
"""

import re

from tests.replies import Calls, Json, Reply, Says, text_of

PLOT = """import matplotlib.pyplot as plt
plt.plot([1, 2])
plt.show()
open("/mnt/data/sum.txt", "w").write("42")
print(40 + 2)"""


def answer(body: Json) -> Reply | None:
    """The reply to a chat request; None leaves it to the upstream's default, which says the words back."""
    messages = body["messages"]
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=-1)
    if last < 0:
        return None
    words = text_of(messages[last])
    outputs = [text_of(message) for message in messages[last + 1 :] if message["role"] == "tool"]
    if city := re.search(r"weather in (\w+)", words):
        return Says("I heard: " + "; ".join(outputs)) if outputs else _call(body, "weather", {"city": city[1]})
    if re.search("oldest boat", words):
        marks = re.findall("【[^】]+】", outputs[-1]) if outputs else []
        called = _call(body, "file_search", {"query": "the oldest boat"})
        return Says(f"It is the Albatross{''.join(marks[:1])}.") if outputs else called
    if re.search("draw it", words):
        called = _call(body, "code_interpreter", {"code": PLOT})
        return Says("It is 42: [sum](sandbox:/mnt/data/sum.txt).") if outputs else called
    return None


def _call(body: Json, name: str, arguments: Json) -> Calls | None:
    offered = [tool["function"]["name"] for tool in body.get("tools") or [] if tool["type"] == "function"]
    found = [each for each in offered if name in each.lower()]
    return Calls((found[0], arguments)) if found else None
