"""A Python with diffusers in it, for the test that draws with a real pipeline of random weights.

torch takes a gigabyte to install and ten seconds to load, so that test asks to be asked for:
``EVERLOOM_TEST_IMAGES`` is the Python of an environment that has the extra ``images``, or ``1``: then one is made, and
kept, as those of the SDKs are (name the CPU build of torch in pip's own settings, or it brings its CUDA along).
"""

import importlib.util
import os
import sys
import tomllib
from pathlib import Path

import pytest

from tests.sdk.environments import Sdk, python_of
from tests.servers import ROOT


def python_with_diffusers() -> str:
    """Its path; skips the test, and says why, where there is none."""
    asked = os.environ.get("EVERLOOM_TEST_IMAGES", "")
    if asked == "1":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        return str(python_of(Sdk("images", tuple(extras["images"]), "")))
    if asked:
        assert Path(asked).is_file(), f"EVERLOOM_TEST_IMAGES: there is no {asked}"
        return asked
    if all(importlib.util.find_spec(name) for name in ("torch", "diffusers", "transformers")):
        return sys.executable
    pytest.skip("needs diffusers: set EVERLOOM_TEST_IMAGES to a Python that has it, or to 1 to have it installed")
