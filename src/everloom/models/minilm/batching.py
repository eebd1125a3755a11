"""Texts that wait for the embedding model, and whose turn it is.

What has come together while the model was busy goes out together: a batch of sixteen short texts costs the model half
of what they cost one by one. Requests take turns text by text, so that a search stands in the next batch, however many
texts of a file wait beside it.
"""

from asyncio import Future
from collections import deque
from collections.abc import Sequence

from everloom.models.embedding import Input

BATCH_BYTES = 2000
BATCH_TEXTS = 16
"""What is computed at once, about 500 tokens: a search waits for the batches before it, so they are short."""


class EmbeddingRequest:
    """A request's texts and what has become of them; ``done`` is set when all have vectors, or one has failed."""

    def __init__(self, inputs: Sequence[Input], done: "Future[None]") -> None:
        self.inputs = inputs
        self.vectors: list[bytes] = [b""] * len(inputs)
        self.tokens = 0
        self.handed_out = 0
        self.done = done
        self._missing = len(inputs)

    def take(self, place: int, vector: bytes, tokens: int) -> None:
        """The vector of one text."""
        self.vectors[place] = vector
        self.tokens += tokens
        self._missing -= 1
        if not self._missing and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        """The first fault counts; what is still under way of this request is for nobody."""
        if not self.done.done():
            self.done.set_exception(error)


Batch = list[tuple[EmbeddingRequest, int]]
"""Texts to compute at once: of which request each is, and its place there."""


class BatchQueue:
    """The requests that have texts left to hand out, the next one first."""

    def __init__(self) -> None:
        self._requests: deque[EmbeddingRequest] = deque()

    def __len__(self) -> int:
        """How many texts wait."""
        return sum(len(request.inputs) - request.handed_out for request in self._requests)

    def add(self, request: EmbeddingRequest) -> None:
        """Let a request wait for its turn."""
        self._requests.append(request)

    def drop(self, request: EmbeddingRequest) -> None:
        """Forget what a request still waits for, if anything."""
        if request in self._requests:
            self._requests.remove(request)

    def next_batch(self, free: int) -> Batch:
        """The next texts; none when nothing waits. ``free``: the threads that what waits is shared among."""
        most = min(BATCH_TEXTS, -(-len(self) // free))
        batch: Batch = []
        size = 0
        while self._requests and len(batch) < most:
            request = self._requests[0]
            size += weight(request.inputs[request.handed_out])
            if batch and size > BATCH_BYTES:
                break
            self._requests.popleft()
            batch.append((request, request.handed_out))
            request.handed_out += 1
            if request.handed_out < len(request.inputs):
                self._requests.append(request)
        return batch

    def fail(self, error: Exception) -> None:
        """Turn everybody away."""
        while self._requests:
            self._requests.popleft().fail(error)


def weight(value: Input) -> int:
    """About four times the tokens of a text, whatever its script."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
    return 4 * len(value)
