"""One step of learning, and looking how well it goes, by the method. Runs in the child."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from everloom.training.lora.network import Network
from everloom.training.lora.plan import micro_batches
from everloom.training.lora.sequences import Example


class LossTally:
    """Losses and hits, summed over tokens (over pairs in dpo)."""

    def __init__(self) -> None:
        self.loss = self.hits = 0.0
        self.count = 0

    def add(self, loss: float, hits: float, count: int) -> None:
        """Of a micro-batch: sums, and of how many."""
        self.loss += loss
        self.hits += hits
        self.count += count

    def metrics(self, prefix: str) -> dict[str, float]:
        """Means, under the reference's names."""
        count = max(1, self.count)
        return {f"{prefix}_loss": self.loss / count, f"{prefix}_mean_token_accuracy": self.hits / count}


class Lessons:
    """What a batch's loss is, in parts that fit in memory.

    ``most``: tokens at once. ``beta``: of dpo. ``breathe`` is called between parts, and may raise.
    """

    def __init__(self, network: Network, method: str, most: int, beta: float, breathe: Callable[[], None]) -> None:
        self.most = most
        self.references: dict[str, list[float]] = {}
        """What the base alone thinks of an example's sequences in dpo, found once: it does not change."""
        self._network = network
        self._method = method
        self._beta = beta
        self._breathe = breathe

    def learn(self, examples: Sequence[Example], batch: Sequence[int]) -> LossTally:
        """Add the batch's mean loss to the adapter's gradient."""
        tally = LossTally()
        weight = 1.0 / self._units(examples, batch)
        for part in self._parts(examples, batch):
            loss, hits, count = self._loss(examples, part, "train")
            (loss * weight).backward()
            tally.add(loss.item(), hits, count)
            self._breathe()
        return tally

    @torch.no_grad()
    def look(self, examples: Sequence[Example], batch: Sequence[int]) -> LossTally:
        """The same without learning."""
        tally = LossTally()
        for part in self._parts(examples, batch):
            loss, hits, count = self._loss(examples, part, "valid")
            tally.add(loss.item(), hits, count)
            self._breathe()
        return tally

    def _units(self, examples: Sequence[Example], batch: Sequence[int]) -> int:
        if self._method == "dpo":
            return len(batch)
        return sum(sequence.targets for index in batch for sequence in examples[index])

    def _parts(self, examples: Sequence[Example], batch: Sequence[int]) -> list[list[int]]:
        sides = 2 if self._method == "dpo" else 1
        lengths = {index: max(len(sequence.ids) for sequence in examples[index]) * sides for index in batch}
        return micro_batches(batch, lengths, self.most)

    def _loss(self, examples: Sequence[Example], part: Sequence[int], what: str) -> tuple[Any, float, int]:
        if self._method == "dpo":
            return self._preference(examples, part, what)
        losses, hits, _ = self._network.losses([examples[index][0] for index in part])
        return losses.sum(), float(hits.sum()), len(losses)

    def _preference(self, examples: Sequence[Example], part: Sequence[int], what: str) -> tuple[Any, float, int]:
        """Direct preference optimization (Rafailov et al. 2023, equation 7): the sigmoid loss, as trl has it."""
        sequences = [sequence for index in part for sequence in examples[index]]
        likely = self._log_likelihoods(sequences)
        unknown = [index for index in part if f"{what} {index}" not in self.references]
        if unknown:
            with torch.no_grad():
                found = self._log_likelihoods(
                    [sequence for index in unknown for sequence in examples[index]], plain=True
                ).tolist()
            for number, index in enumerate(unknown):
                self.references[f"{what} {index}"] = found[2 * number : 2 * number + 2]
        known = [value for index in part for value in self.references[f"{what} {index}"]]
        gains = likely - torch.tensor(known, device=likely.device)
        margins = self._beta * (gains[0::2] - gains[1::2])
        return -torch.nn.functional.logsigmoid(margins).sum(), float((margins > 0).sum()), len(part)

    def _log_likelihoods(self, sequences: Sequence[Any], *, plain: bool = False) -> Any:
        losses, _, rows = self._network.losses(sequences, plain=plain)
        return torch.zeros(len(sequences), device=losses.device).index_add(0, rows, -losses)
