"""What a command says while it goes on: line by line and piece by piece, in colour on a terminal, plain elsewhere and
where ``NO_COLOR`` asks for it.
"""

import sys

_KEPT = "\n\t\u200c\u200d"
"""Characters that do nothing to a terminal, beside those that can be seen: the last two join others to one sign."""


def harmless(text: str) -> str:
    """A text of several lines that others have written, fit for a terminal: whatever could move its cursor, change its
    colours or turn the direction of writing is shown as a question mark.
    """
    return "".join(
        character if character.isprintable() or character in _KEPT else _instead(character) for character in text
    )


def _instead(character: str) -> str:
    if character == "\r":
        return ""
    return " " if character.isspace() and character > "\x7f" else "?"


class Display:
    """Standard output, or with ``error`` standard error. ``who`` is the word in front, ``style`` one of rich's."""

    def __init__(self, *, error: bool = False) -> None:
        from rich.console import Console

        stream = sys.stderr if error else sys.stdout
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # A terminal may know fewer characters than a model does.
        console = Console(stderr=error)
        self._console = Console(stderr=error, color_system=None) if console.no_color else console
        self._speaking = False

    @property
    def is_terminal(self) -> bool:
        return self._console.is_terminal

    def title(self, what: str) -> None:
        """A line above what belongs together."""
        self.end()
        self._print(f"\n{what}\n", "bold")

    def line(self, what: str = "", style: str = "", *, who: str = "") -> None:
        """A line of its own."""
        self.end()
        if who:
            self._print(f"{who:10} ", "dim")
        self._print(f"{what.rstrip()}\n", style)

    def piece(self, text: str, style: str = "", *, who: str = "") -> None:
        """What is to stand behind the piece before it."""
        if not text:
            return
        if not self._speaking and who:
            self._print(f"{who:10} ", "dim")
        self._speaking = True
        self._print(text, style)

    def end(self) -> None:
        """End the line that pieces are on."""
        if self._speaking:
            self._speaking = False
            self._print("\n")

    def _print(self, text: str, style: str = "") -> None:
        from rich.text import Text

        # By ``Text`` nothing in it is markup, and nothing is broken into lines but by the terminal.
        self._console.print(Text(harmless(text)), style=style, end="", soft_wrap=True)
        self._console.file.flush()
