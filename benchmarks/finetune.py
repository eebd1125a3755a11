"""Tokens a second of fine-tuning the default model: our trainer, and a bare loop of transformers and peft beside it.

Both train the same LoRA (rank 8, the seven matrices of each layer) over the same examples in batches of the same size,
on the same device, with as many threads. The bare loop is what peft's own documentation shows: pad the batch, have the
model make its loss, go back, step. Tokens are those of the examples; padding is nobody's. Needs the extra ``finetune``
(``--python``: a Python that has it).
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from platformdirs import user_cache_dir

from benchmarks.measure import Row, machine, median, note, options, table
from everloom.models.files.weights import SMOLLM2, Weights
from everloom.training.base import Began, Saved, Stepped, TrainingTask
from everloom.training.lora.trainer import LoraTrainer

SHARE = 0.9
"""Of the bare loop's tokens a second, at least."""

WORDS = (
    "keeper",
    "lamp",
    "ship",
    "rain",
    "snow",
    "morning",
    "sea",
    "door",
    "light",
    "storm",
    "went",
    "saw",
    "and",
    "the",
)
_FIRST = 2
"""Steps that warm up, and are not counted."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=8, help="of each measurement")
    parser.add_argument("--batch", type=int, default=4, help="examples a step")
    parser.add_argument("--python", default=sys.executable, help="one that has the extra finetune")
    parser.add_argument("--bare", nargs=3, metavar=("MODEL", "EXAMPLES", "BATCH"), help="the bare loop's process")
    chosen = parser.parse_args()
    if chosen.bare:
        bare(Path(chosen.bare[0]), Path(chosen.bare[1]), int(chosen.bare[2]))
        return
    rows = measure(chosen.repetitions, chosen.steps, chosen.batch, chosen.python)
    print(f"{table(rows)}\n\n{machine()}")


def measure(repetitions: int, steps: int, batch: int, python: str) -> list[Row]:
    """The table's rows."""
    (model,) = Weights(Path(user_cache_dir("everloom-tests")) / "models").fetch(SMOLLM2)
    ours, theirs, used = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        examples = _examples(Path(folder), (steps + _FIRST) * batch)
        for turn in range(repetitions):
            note(f"repetition {turn + 1}")
            for side in sorted(("bare", "ours"), reverse=bool(turn % 2)):
                if side == "ours":
                    speed, memory = asyncio.run(_ours(model, examples, batch, python, Path(folder)))
                    ours.append(speed)
                    used.append(memory)
                else:
                    theirs.append(_bare(model, examples, batch, python))
    share = median(a / b for a, b in zip(ours, theirs, strict=True))
    return [
        Row(
            f"fine-tuning, batches of {batch}: tokens a second",
            f"{median(ours):.0f} ({share:.0%})",
            f"bare transformers + peft {median(theirs):.0f}",
            f"at least {SHARE:.0%}",
            share >= SHARE,
        ),
        Row("fine-tuning: memory that was foreseen", f"{median(used) / 1e9:.2f} GB", ""),
    ]


def _examples(folder: Path, count: int) -> Path:
    """Conversations whose answers have from 20 to 160 words."""
    chance = random.Random(1)
    lines = []
    for number in range(count):
        said = " ".join(chance.choices(WORDS, k=chance.randint(20, 160)))
        turns = [{"role": "user", "content": f"Tell story {number}."}, {"role": "assistant", "content": said}]
        lines.append(json.dumps({"messages": turns}))
    path = folder / "examples.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


async def _ours(model: Path, examples: Path, batch: int, python: str, folder: Path) -> tuple[float, int]:
    """Tokens a second behind the first steps, by what the trainer tells."""

    async def path_of(name: str) -> Path:
        return model

    trainer = LoraTrainer({"model"}, path_of, python=python)
    task = TrainingTask(
        job_id="benchmark",
        base="model",
        method="supervised",
        training=examples,
        n_epochs=1,
        batch_size=batch,
        seed=1,
        folder=folder / "work",
    )
    told: list[tuple[float, int]] = []
    memory = 0
    async for event in trainer.train(task).events():
        if isinstance(event, Began):
            memory = event.bytes
        if isinstance(event, Stepped):
            told.append((time.perf_counter(), event.trained_tokens))
        if isinstance(event, Saved):
            break
    (since, before), (until, after) = told[_FIRST - 1], told[-1]
    return (after - before) / (until - since), memory


def _bare(model: Path, examples: Path, batch: int, python: str) -> float:
    command = [python, "-m", "benchmarks.finetune", "--bare", str(model), str(examples), str(batch)]
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    return float(json.loads(said.stdout.splitlines()[-1])["rate"])


def bare(model: Path, examples: Path, size: int) -> None:
    """The loop that one writes by hand."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    words = AutoTokenizer.from_pretrained(str(model.parent), gguf_file=model.name)
    network = AutoModelForCausalLM.from_pretrained(str(model.parent), gguf_file=model.name, dtype=dtype).to(device)
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    tuned = peft.get_peft_model(
        network, peft.LoraConfig(r=8, lora_alpha=16, target_modules=modules, task_type="CAUSAL_LM")
    )
    optimizer = torch.optim.AdamW((part for part in tuned.parameters() if part.requires_grad), lr=2e-4)
    lines = [json.loads(line)["messages"] for line in examples.read_text().splitlines()]
    random.Random(1).shuffle(lines)
    texts = [words.apply_chat_template(line, tokenize=False) for line in lines]
    words.padding_side = "right"
    tokens, since = 0, 0.0
    for number, start in enumerate(range(0, len(texts), size)):
        if number == _FIRST:
            since = time.perf_counter()
        batch = words(texts[start : start + size], return_tensors="pt", padding=True).to(device)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        tuned(**batch, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(tuned.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens += int(batch["attention_mask"].sum()) if number >= _FIRST else 0
    if device == "cuda":
        torch.cuda.synchronize()
    print(json.dumps({"rate": tokens / (time.perf_counter() - since)}))


if __name__ == "__main__":
    main()
