"""A browser for the tests: the system's Chromium, without a window.

``EVERLOOM_TEST_CHROMIUM`` names another program than the one on the path. ``python -m tests.browser install`` fetches
Chromium where it is missing and the machine allows it (root, apt-get).
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import packages

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def install() -> None:
    """Install Chromium with apt-get, unless it is here."""
    if not _program():
        # Some systems have it under that name as a stub for another installer: then its tests are skipped.
        packages.install("Chromium", ("chromium",), must=False)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; skips the test, with the reason, where there is none.

    While it is open, an event loop runs in this thread: ``asyncio.run`` has no place beside it.
    """
    program = _program()
    if program is None:
        pytest.skip("Chromium is not installed (python -m tests.browser install)")
    with sync_playwright() as playwright:
        # Root may not have its sandbox, and what it opens here is ours.
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=os.geteuid() != 0)
        try:
            yield browser
        finally:
            browser.close()


def _program() -> str | None:
    named = os.environ.get("EVERLOOM_TEST_CHROMIUM")
    return named or next(filter(None, map(shutil.which, _NAMES)), None)


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit("usage: python -m tests.browser install")
    install()
