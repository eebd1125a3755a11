"""``python -m tests.training.answering MODEL ADAPTER TEXT…``: what the serving engine answers, as a JSON list.

ADAPTER may be ``-``: the base alone. Answers are the likeliest.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def answers(model: Path, adapter: Path | None, texts: Sequence[str]) -> list[str]:
    """Have a process of its own answer."""
    command = [sys.executable, "-m", "tests.training.answering", str(model), str(adapter or "-"), *texts]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=120)
    found: list[str] = json.loads(said.stdout.splitlines()[-1])
    return found


def main() -> None:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    import xllamacpp

    model, adapter, *texts = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_parallel, params.n_ctx, params.verbosity = 1, 512, 0
    params.cpuparams.n_threads = 2
    if adapter != "-":
        lora = xllamacpp.CommonAdapterLoraInfo()
        lora.path, lora.scale = adapter, 1.0
        params.lora_adapters = [lora]
    server = xllamacpp.Server(params)
    said = []
    for text in texts:
        asked = {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 24}
        said.append(server.handle_chat_completions(asked)["choices"][0]["message"]["content"])
    print(json.dumps(said), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
