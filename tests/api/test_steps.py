"""The steps between the socket and a handler: what each may do with what lies behind it."""

import asyncio
from typing import Any

from everloom.api.http.routes import Request
from everloom.api.http.steps import Next, Step, compose

REQUEST: Any = "request"


def noting(name: str, notes: list[str]) -> Step:
    async def step(request: Request, next: Next) -> Any:
        notes.append(f"{name} before")
        answer = await next(request)
        notes.append(f"{name} after")
        return f"{name}({answer})"

    return step


async def answer(request: Request) -> str:
    return "answer"


async def refuse(request: Request, next: Next) -> Any:
    return "no"


def test_steps_stand_around_each_other_in_their_order() -> None:
    notes: list[str] = []
    whole = compose([noting("outer", notes), noting("inner", notes)], answer)
    for _ in range(2):
        assert asyncio.run(ask(whole)) == "outer(inner(answer))"
    assert notes == ["outer before", "inner before", "inner after", "outer after"] * 2


def test_a_step_may_answer_itself() -> None:
    notes: list[str] = []
    whole = compose([noting("outer", notes), refuse, noting("inner", notes)], answer)
    assert asyncio.run(ask(whole)) == "outer(no)"
    assert notes == ["outer before", "outer after"]


def test_without_steps_there_is_the_end() -> None:
    assert asyncio.run(ask(compose([], answer))) == "answer"


async def ask(whole: Next) -> Any:
    return await whole(REQUEST)
