"""A Python with torch, transformers, peft and gguf in it, for tests that really train.

torch takes a gigabyte to install and ten seconds to load, so these tests ask to be asked for:
``EVERLOOM_TEST_FINETUNE`` is the Python of an environment that has the extra ``finetune``, or ``1``: then one is made,
and kept, as those of the SDKs are (name the CPU build of torch in pip's own settings, or it brings its CUDA along).
"""

import importlib.util
import os
import sys
import tomllib
from pathlib import Path

import pytest

from tests.sdk.environments import Sdk, python_of
from tests.servers import ROOT

TORCH = "torch==2.13.0"
"""Pinned, so that one environment serves many runs."""


def python_with_finetuning() -> str:
    """Its path; skips the test, and says why, where there is none."""
    asked = os.environ.get("EVERLOOM_TEST_FINETUNE", "")
    if asked == "1":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        others = [line for line in extras["finetune"] if not line.startswith("torch")]
        return str(python_of(Sdk("finetune", (TORCH, *others), "")))
    if asked:
        assert Path(asked).is_file(), f"EVERLOOM_TEST_FINETUNE: there is no {asked}"
        return asked
    if all(importlib.util.find_spec(name) for name in ("torch", "transformers", "peft", "gguf")):
        return sys.executable
    pytest.skip("needs torch, transformers and peft: set EVERLOOM_TEST_FINETUNE to a Python that has them, or to 1")
