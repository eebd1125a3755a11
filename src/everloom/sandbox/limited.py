"""Outputs of one call, cut where there are too many."""

from collections.abc import Iterator

from everloom.sandbox.base import Image, Limits, Logs, Output


class Limited:
    """Passes outputs on until the limits of a call are reached, and says so once for each kind."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._characters = limits.logs
        self._images = limits.images

    def pass_on(self, shown: Output | None) -> Iterator[Output]:
        match shown:
            case Logs(text):
                if self._characters < 0:
                    return
                if kept := text[: self._characters]:
                    yield Logs(kept)
                self._characters -= len(text)
                if self._characters < 0:
                    yield Logs(f"\n[The logs end here: they are longer than {self._limits.logs} characters.]\n")
            case Image():
                self._images -= 1
                if self._images >= 0:
                    yield shown
                elif self._images == -1:
                    yield Logs(f"\n[More images are not shown: there are more than {self._limits.images}.]\n")
