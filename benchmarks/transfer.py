"""Import and export: messages a second, and the memory that it takes.

``python -m benchmarks.transfer --messages 100000``: a dump of threads of fifty messages, newest first as the API lists
them, is imported into an empty database by ``everloom import``, imported once more (all stands), and exported. Peak
memory is that of the command's process, beside that of an import of a hundredth of it: the memory is flat if they are
near each other.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import PATH

THREAD = 50
T0 = 1_700_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=60, help="of a message")
    chosen = parser.parse_args()
    print(f"{'':24}{'messages':>10}{'seconds':>9}{'a second':>10}{'CPU s':>8}{'peak MB':>9}")
    for count in (chosen.messages // 100, chosen.messages):
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), count, chosen.words)


def measure(folder: Path, count: int, words: int) -> None:
    """One size: a first import, a second one of the same, an export."""
    dump(folder / "dump.jsonl", count, words)
    for name, arguments in (
        ("import", ("import", "dump.jsonl")),
        ("import of what stands", ("import", "dump.jsonl")),
        ("export", ("export", "out")),
    ):
        tell(name, count, *run(folder, *arguments))


def dump(path: Path, count: int, words: int) -> None:
    """Messages in lines, each thread's newest first; three are of one second."""
    text = " ".join("lorem" for _ in range(words))
    with path.open("w") as file:
        for thread in range(count // THREAD):
            for place in reversed(range(THREAD)):
                content = [{"type": "text", "text": {"value": f"{place} {text}", "annotations": []}}]
                message = {
                    "id": f"msg_{thread:08}x{place:015}",
                    "object": "thread.message",
                    "created_at": T0 + thread * 60 + place // 3,
                    "thread_id": f"thread_{thread:024}",
                    "role": ("user", "assistant")[place % 2],
                    "content": content,
                    "attachments": [],
                    "metadata": {},
                }
                file.write(json.dumps(message) + "\n")


def run(folder: Path, *arguments: str) -> tuple[float, float, float]:
    """Seconds, seconds of CPU time and megabytes that a command took."""
    begun = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "everloom", *arguments, "--data", "data"],
        cwd=folder,
        env=os.environ | PATH,
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(child.pid, 0)
    taken = time.perf_counter() - begun
    if status:
        raise SystemExit(f"everloom {' '.join(arguments)} ended with {status}")
    return taken, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def tell(name: str, count: int, taken: float, cpu: float, peak: float) -> None:
    print(f"{name:24}{count:10,}{taken:9.1f}{count / taken:10,.0f}{cpu:8.1f}{peak:9.0f}")


if __name__ == "__main__":
    main()
