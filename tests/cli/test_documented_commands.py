"""Every command that a page names is one that the program has, with the options that the page gives it."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from everloom.cli.commands import app
from tests.servers import ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("docs/**/*.md")]
PROGRAM = typer.main.get_command(app)


def commands(text: str) -> Iterator[list[str]]:
    """The words behind ``everloom``, in blocks and within lines."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line for language, block in blocks if language in ("", "sh") for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))
    for line in lines:
        if found := re.match(r"(?:\$ )?(?:[A-Z_]+=\S+ )*everloom ([^|&;>]*)", line):
            yield shlex.split(found[1].replace("'", " "), comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_it_is_there(page: Path) -> None:
    for words in commands(page.read_text()):
        found: Any = PROGRAM
        rest = list(words)
        while hasattr(found, "commands") and rest and not rest[0].startswith("-"):
            name = rest.pop(0)
            assert name in found.commands, f"everloom {' '.join(words)}"
            found = found.commands[name]
        known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in rest:
            if re.match(r"--?[a-z]", word):
                assert word.partition("=")[0] in known | {"--help", "-h"}, f"everloom {' '.join(words)}"


def test_they_are_found() -> None:
    readme = [*commands((ROOT / "README.md").read_text())]
    assert ["worker"] in readme
    assert ["serve", "--no-worker"] in readme
    assert ["demo"] in readme
