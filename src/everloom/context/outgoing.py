"""What one process has under way to other people's servers, and how much of it there may be."""

import secrets

from everloom.kit.places import Places


class Outgoing:
    """Of the places of the ``outgoing`` lane (``jobs/base.py``), a project has a quarter at most, and endpoints that
    failed the last time have half together: those that answer never wait for all that do not.
    """

    def __init__(self) -> None:
        self.name = secrets.token_hex(8)
        """What this process calls itself where it holds an endpoint's line."""
        self.projects = Places(64, 16)
        self.failing = Places(32, 8)
        self.tests = Places(16, 2)
        """Samples that somebody waits for."""
