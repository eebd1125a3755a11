"""The organization's commands in the documentation, word for word, on a fresh install."""

import re
import shlex
from pathlib import Path

from tests.cli.programs import everloom

GUIDE = Path(__file__).parent.parent.parent / "docs" / "organization.md"


def test_the_commands_of_the_organization_work_in_their_order(tmp_path: Path) -> None:
    (block,) = re.findall(r"```sh\n((?:everloom .*\n)*everloom users invite (?:.*\n)*?)```", GUIDE.read_text())
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert len(lines) > 8
    assert everloom(tmp_path, "migrate").returncode == 0
    for program, *arguments in lines:
        assert program == "everloom"
        done = everloom(tmp_path, *arguments)
        assert done.returncode == 0, arguments
        assert bool(done.stderr) == (arguments[:2] == ["keys", "create"]), arguments
