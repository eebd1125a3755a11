"""``everloom`` on a machine whose clock is set to the next day at SIGUSR1, and to the day before at SIGUSR2.

``python -m tests.crash.jumping serve --data DIR``. The clock is the world's; nothing of ours is touched.
"""

import signal
import time
from types import FrameType

DAY = 86_400


class Clock:
    def __init__(self) -> None:
        self._real = time.time
        self._offset = 0

    def time(self) -> float:
        return self._real() + self._offset

    def jump(self, number: int, frame: FrameType | None) -> None:
        self._offset += DAY if number == signal.SIGUSR1 else -DAY


if __name__ == "__main__":
    clock = Clock()
    time.time = clock.time
    signal.signal(signal.SIGUSR1, clock.jump)
    signal.signal(signal.SIGUSR2, clock.jump)

    from everloom.cli import main

    main()
