"""Outputs of one call, cut where there are too many."""

from collections.abc import Iterator

from everloom.sandbox.base import Output, Picture, Printed, SandboxLimits


class Limited:
    """Passes outputs on until the limits of a call are reached, and says so once for each kind."""

    def __init__(self, limits: SandboxLimits) -> None:
        self._limits = limits
        self._characters = limits.logs
        self._images = limits.images

    def pass_on(self, shown: Output | None) -> Iterator[Output]:
        match shown:
            case Printed(text):
                if self._characters < 0:
                    return
                if kept := text[: self._characters]:
                    yield Printed(kept)
                self._characters -= len(text)
                if self._characters < 0:
                    yield Printed(f"\n[The logs end here: they are longer than {self._limits.logs} characters.]\n")
            case Picture():
                self._images -= 1
                if self._images >= 0:
                    yield shown
                elif self._images == -1:
                    yield Printed(f"\n[More images are not shown: there are more than {self._limits.images}.]\n")
