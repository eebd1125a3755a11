"""The commands. What is slow to import is imported by the command that needs it."""

import os
import sys

from everloom.config import SettingsError


class CommandError(Exception):
    """A command cannot do its work; the message is shown as it is. ``status`` is the exit status."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def main() -> None:
    """The ``everloom`` program."""
    try:
        from everloom.cli.commands import app
        from everloom.cli.private import UMASK

        os.umask(UMASK)
        app(prog_name="everloom")
    except SettingsError as error:
        _leave(str(error), 2)
    except CommandError as error:
        _leave(str(error), error.status)
    except KeyboardInterrupt:  # While it was still being imported.
        _leave("", 130)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain again when it flushes at exit.
        sys.stderr.close()
        _leave("", 1)


def _leave(message: str, status: int) -> None:
    if message:
        from everloom.kit.log import mask

        print(f"everloom: {mask(message)}", file=sys.stderr)
    sys.exit(status)
