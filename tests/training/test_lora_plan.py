"""How a training is laid out: arithmetic alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloom.training.base import Method
from everloom.training.lora.gguf_model import read_model
from everloom.training.lora.plan import batches, choose, memory_need, micro_batches, rate
from tests.weights import default_gguf


@pytest.mark.parametrize(
    ("examples", "epochs", "batch"),
    [(10, 10, 1), (33, 4, 1), (34, 3, 1), (1000, 3, 2), (8333, 3, 17), (10_000, 2, 20), (1_000_000, 1, 64)],
)
def test_auto(examples: int, epochs: int, batch: int) -> None:
    numbers = choose(examples, None, None, None, None)
    assert (numbers.n_epochs, numbers.batch_size) == (epochs, batch)
    assert (numbers.learning_rate_multiplier, numbers.beta) == (1.0, 0.1)


def test_what_is_named_counts() -> None:
    numbers = choose(10, 2, 64, 0.5, 0.3)
    assert (numbers.n_epochs, numbers.batch_size) == (2, 10)
    assert (numbers.learning_rate_multiplier, numbers.beta) == (0.5, 0.3)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=200), st.integers(1, 40), st.integers(0, 5))
def test_a_pass_has_every_example_once_and_the_same_each_time(lengths: list[int], size: int, epoch: int) -> None:
    made = batches(lengths, size, 7, epoch)
    assert sorted(index for batch in made for index in batch) == list(range(len(lengths)))
    assert len(made) == -(-len(lengths) // size)
    assert all(len(batch) <= size for batch in made)
    assert made == batches(lengths, size, 7, epoch)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=64), st.integers(3000, 20_000))
def test_parts_of_a_batch_fit_and_have_little_padding(lengths: list[int], most: int) -> None:
    parts = micro_batches(range(len(lengths)), dict(enumerate(lengths)), most)
    assert sorted(index for part in parts for index in part) == list(range(len(lengths)))
    for part in parts:
        padded = len(part) * max(lengths[index] for index in part)
        assert padded <= most
        assert padded <= 1.15 * sum(lengths[index] for index in part)


@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_the_rate_rises_and_falls(method: Method) -> None:
    rates = [rate(step, 100, method, 1.0, 576) for step in range(100)]
    peak = max(rates)
    assert rates.index(peak) in (9, 10)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert peak / 11 < rates[-1] < peak / 8
    assert rate(50, 100, method, 2.0, 576) == pytest.approx(2 * rates[50])


def test_memory_of_the_default_model() -> None:
    need = memory_need(read_model(default_gguf()).shape(), 4)
    assert 1.0e9 < need.of(64) < 2.0e9
    assert need.of(2048) > need.of(64)
    assert need.of(2048, sparing=True) < need.of(2048) / 1.5
    assert need.of(need.tokens_in(3 << 30)) <= 3 << 30
