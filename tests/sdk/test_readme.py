"""The README's program, word for word but for key and port, by the newest SDK on a server that nobody has set up."""

import re
import subprocess
from pathlib import Path

from tests.sdk.environments import NEWEST, python_of
from tests.servers import API_KEY, ROOT, Everloom
from tests.weights import default_weights

README = (ROOT / "README.md").read_text()


def test_the_program_prints_what_the_readme_says(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (printed,) = re.findall(r"```\n(tool_calls .*?)```", README, flags=re.DOTALL)
    with Everloom(tmp_path, weights=default_weights().folder) as server:
        program = program.replace("http://127.0.0.1:8080/v1", server.url).replace("sk-proj-…", API_KEY)
        ended = subprocess.run(
            [str(python_of(NEWEST)), "-W", "ignore", "-c", program],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    *steps, citation = ended.stdout.splitlines()
    *expected, cited = printed.splitlines()
    assert (steps[:2], citation) == (expected[:2], cited)
    assert "8051" in steps[2], "another processor may round so that a word of it is another"


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("examples/*.md"), *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            if "://" not in target:
                file, _, heading = target.partition("#")
                found = page.parent / file if file else page
                assert found.exists(), f"{page.name}: {target}"
                assert not heading or heading in anchors(found.read_text()), f"{page.name}: {target}"


def anchors(text: str) -> set[str]:
    """What a page's headings are called in links, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
