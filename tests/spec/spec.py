"""Where the published specification and recorded traffic lie: data beside the sources, never copied into them.

They are looked for in ``../shared/spec`` as seen from the repository's root, or where the environment
variable ``EVERLOOM_TEST_SPEC`` says. Tests that need them are skipped, with that reason, where they are absent.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SPEC = Path(os.environ.get("EVERLOOM_TEST_SPEC") or ROOT.parent / "shared" / "spec")
"""The folder of the specification, there or not."""

needs_spec = pytest.mark.skipif(
    not SPEC.is_dir(),
    reason="the published specification is not here: put it into ../shared/spec or set EVERLOOM_TEST_SPEC",
)
