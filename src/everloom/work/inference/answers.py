"""Answers of models as those see them who pass them on."""

from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol

from everloom.kit.secrets import SECRETS


class Streamed(Protocol):
    """An answer that can be streamed (``MeteredAnswer`` is one)."""

    content_type: str
    hides_usage: bool
    """Whether it tells a usage that its caller did not ask for."""

    def blocks(self) -> AsyncIterator[bytes]: ...

    async def close(self) -> None: ...


class Proxied(Streamed, Protocol):
    """One that can be read whole, too (``CompletionAnswer`` is one)."""

    async def whole(self) -> bytes: ...


async def read_whole(asked: Coroutine[Any, Any, Proxied]) -> bytes:
    """The body of the answer that ``asked`` brings, which is closed in any case."""
    answer = await asked
    try:
        return without_secrets(await answer.whole())
    finally:
        await answer.close()


def without_secrets(lines: bytes) -> bytes:
    """Whole lines of an answer: those that tell of an error may quote the key that the model's server was asked with.

    Within the text of an answer the name would stand with its quotation marks escaped.
    """
    if b'"error"' not in lines:
        return lines
    return b"".join(
        SECRETS.hide(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if b'"error"' in line
        else line
        for line in lines.splitlines(keepends=True)
    )
