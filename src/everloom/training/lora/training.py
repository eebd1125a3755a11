"""A training from its prepared lines to its end, told step by step. Runs in the child."""

import time
from pathlib import Path
from typing import Any

import torch

from everloom.training.lora.files import BadState, load_state, save_state, write_adapter
from everloom.training.lora.gguf_model import GgufModel
from everloom.training.lora.lessons import Lessons, LossTally
from everloom.training.lora.link import ParentLink, Pausing, TrainingRefused
from everloom.training.lora.network import Network
from everloom.training.lora.plan import RANK, MemoryNeed, Numbers, batches, rate
from everloom.training.lora.sequences import Example, Examples

LOOK_EVERY = 10
LOOK_AT = 8
"""Every so many steps so many examples for validation are looked at."""

_LONGEST_GRADIENT = 1.0
_FIRST_SPEED_S = 0.2
"""Seconds of multiplying by which the first guess of the speed is made."""


class Training:
    """``order`` as ``messages.py`` has it; ``numbers`` are chosen, ``most`` tokens are computed at once."""

    def __init__(
        self,
        order: dict[str, Any],
        model: GgufModel,
        network: Network,
        numbers: Numbers,
        train: Examples,
        valid: Examples | None,
        most: int,
        link: ParentLink,
    ) -> None:
        self._order, self._model, self._network, self._link = order, model, network, link
        self._folder = Path(order["folder"])
        self._numbers = numbers
        self._train, self._lengths = train.items, train.lengths()
        self._tokens = train.tokens()
        self._valid: list[Example] = valid.items if valid else []
        self._a_pass = -(-len(train.items) // numbers.batch_size)
        self._total = self._a_pass * numbers.n_epochs
        self._lessons = Lessons(network, order["method"], most, numbers.beta, link.breathe)
        self._optimizer = torch.optim.AdamW(network.adapter.values(), lr=0.0, weight_decay=0.01)
        self._step = 0
        self._trained = 0
        self._saved_step, self._saved_at = -1, time.monotonic()
        self._metrics: dict[str, Any] = {}
        self._epoch, self._batches = -1, [[0]]
        self._speed = self._guess()
        """Tokens a second."""

    def run(self, bytes_needed: int) -> None:
        """To its end, or to a pause."""
        if self._order["state"]:
            self._restore(Path(self._order["state"]))
        self._link.say("began", **self._beginning(bytes_needed))
        try:
            while self._step < self._total:
                self._link.breathe()
                self._one_step()
        except Pausing:
            self._optimizer.zero_grad(set_to_none=True)
            self._save()
            self._link.say("paused")
            return
        name = self._checkpoint_name()
        if not (self._folder / name).is_file():  # gone on from a last state elsewhere
            self._write_adapter(name)
        self._link.say("finished", trained_tokens=self._trained, adapter=name)

    def _beginning(self, bytes_needed: int) -> dict[str, Any]:
        numbers = self._numbers
        return {
            "step": self._step,
            "total_steps": self._total,
            "n_epochs": numbers.n_epochs,
            "batch_size": numbers.batch_size,
            "learning_rate_multiplier": numbers.learning_rate_multiplier,
            "beta": numbers.beta if self._order["method"] == "dpo" else None,
            "examples": len(self._train),
            "tokens": self._tokens,
            "device": self._network.device,
            "bytes": bytes_needed,
            "seconds": self._left(),
        }

    def _one_step(self) -> None:
        started = time.monotonic()
        batch = self._batch()
        tally = self._learn(batch)
        loss = tally.loss / max(1, tally.count)
        if not loss < float("inf"):
            text = (
                f"The loss was no number any more at step {self._step + 1}. A lower learning_rate_multiplier may help."
            )
            raise TrainingRefused(text, "training_diverged", "hyperparameters.learning_rate_multiplier")
        torch.nn.utils.clip_grad_norm_(self._network.adapter.values(), _LONGEST_GRADIENT)
        multiplier = self._numbers.learning_rate_multiplier
        width = self._model.shape().width
        for group in self._optimizer.param_groups:
            group["lr"] = rate(self._step, self._total, self._order["method"], multiplier, width)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._step += 1
        tokens = sum(len(sequence.ids) for index in batch for sequence in self._train[index])
        self._trained += tokens
        self._note_speed(tokens / max(1e-6, time.monotonic() - started))
        self._metrics = {"step": self._step, **tally.metrics("train")}
        self._look()
        self._link.say("stepped", metrics=self._metrics, trained_tokens=self._trained, seconds=self._left())
        if self._step % self._a_pass == 0:
            self._end_of_epoch()
        elif self._is_due():
            self._save()

    def _batch(self) -> list[int]:
        epoch, place = divmod(self._step, self._a_pass)
        if epoch != self._epoch:
            self._epoch = epoch
            self._batches = batches(self._lengths, self._numbers.batch_size, self._order["seed"], epoch)
        return self._batches[place]

    def _learn(self, batch: list[int]) -> LossTally:
        """Smaller parts where the device has less room than was thought."""
        while True:
            try:
                return self._lessons.learn(self._train, batch)
            except torch.OutOfMemoryError:
                self._optimizer.zero_grad(set_to_none=True)
                if self._lessons.most <= min(self._lengths):
                    raise
                self._lessons.most //= 2

    def _look(self) -> None:
        if not self._valid or (self._step % LOOK_EVERY and self._step != self._total):
            return
        start = self._step // LOOK_EVERY * LOOK_AT
        some = sorted({(start + number) % len(self._valid) for number in range(LOOK_AT)})
        self._metrics |= self._lessons.look(self._valid, some).metrics("valid")

    def _end_of_epoch(self) -> None:
        if self._valid:
            whole = self._lessons.look(self._valid, range(len(self._valid)))
            self._metrics |= whole.metrics("full_valid")
        name = self._checkpoint_name()
        self._write_adapter(name)
        self._link.say("checkpoint", metrics=self._metrics, adapter=name)
        self._save()

    def _checkpoint_name(self) -> str:
        return f"checkpoint-{self._step}.gguf"

    def _write_adapter(self, name: str) -> None:
        write_adapter(self._folder / name, self._model, self._network.adapter, self._order["name"])

    def _is_due(self) -> bool:
        """Whether a state is to be saved; not while nobody took the last one, so that they do not fill the disk."""
        often = self._step - max(0, self._saved_step) >= self._order["save_steps"]
        late = time.monotonic() - self._saved_at >= self._order["save_s"]
        return (often or late) and self._link.untaken <= 0

    def _save(self) -> None:
        if self._saved_step == self._step:
            return
        name = f"state-{self._step}.pt"
        save_state(
            self._folder / name,
            {
                "step": self._step,
                "trained": self._trained,
                "total": self._total,
                "examples": len(self._train),
                "adapter": {name: part.detach().cpu() for name, part in self._network.adapter.items()},
                "optimizer": self._optimizer.state_dict(),
                "random": torch.get_rng_state(),
                "metrics": self._metrics,
                "references": self._lessons.references,
            },
        )
        self._saved_step, self._saved_at = self._step, time.monotonic()
        self._link.untaken += 1
        self._link.say("saved", step=self._step, state=name)

    def _restore(self, path: Path) -> None:
        """Go on from a state; begin anew, and say so, where it is damaged."""
        pairs = 64 * len(self._train) + 64 * len(self._valid)
        longest = 4 * 4 * self._model.shape().lora_parameters(RANK) + pairs + (16 << 20)
        try:
            state = load_state(path, longest)
            if (state["total"], state["examples"]) != (self._total, len(self._train)):
                raise BadState("it is of other examples, or of other hyperparameters")
            with torch.no_grad():
                for name, part in self._network.adapter.items():
                    part.copy_(state["adapter"][name])
            self._optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])
            self._lessons.references = dict(state["references"])
            self._step, self._trained, self._metrics = state["step"], state["trained"], state["metrics"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise TrainingRefused(
                f"The state that was saved cannot be gone on from: {error}", "state_damaged"
            ) from error
        self._saved_step = self._step

    def _left(self) -> float:
        return (self._tokens * self._numbers.n_epochs - self._trained) / self._speed

    def _note_speed(self, speed: float) -> None:
        self._speed = speed if self._step == 1 else 0.9 * self._speed + 0.1 * speed

    def _guess(self) -> float:
        """Tokens a second, by how fast this machine multiplies: three times a model's numbers, there and back."""
        shape = self._model.shape()
        dtype = next(iter(self._network.adapter.values())).dtype
        left = torch.ones(256, shape.width, device=self._network.device, dtype=dtype)
        right = torch.ones(shape.width, shape.inner, device=self._network.device, dtype=dtype)
        started, turns = time.monotonic(), 0
        while time.monotonic() - started < _FIRST_SPEED_S:
            (left @ right).sum().item()
            turns += 1
        multiplied = turns * 256 * shape.width * shape.inner / (time.monotonic() - started)
        return max(1.0, multiplied / (3 * shape.parameters))


def fits(need: MemoryNeed, longest: int, limit: int, usual: int) -> tuple[int, bool]:
    """How many tokens are computed at once for examples of at most ``longest``, and whether sparingly.

    Errors: ``TrainingRefused`` where ``limit`` bytes are too few for a single one.
    """
    for sparing in (False, True):
        room = need.tokens_in(limit, sparing=sparing)
        if room >= longest:
            return min(room, max(longest, usual)), sparing
    text = (
        f"This training needs about {need.of(longest, sparing=True) / 1e9:.2f} GB of memory for its longest example "
        f"({longest} tokens), and has {limit / 1e9:.2f} GB. Use shorter examples, or a smaller model; the operator of "
        "this server can lower the longest example (finetune_context) or give it more memory (finetune_memory)."
    )
    raise TrainingRefused(text, "insufficient_memory")
