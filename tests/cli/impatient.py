"""``everloom`` that waits less for its serving processes' signs of life. Only the numbers are the test's."""

from everloom.cli import main, processes

processes.BEAT_SECONDS = 3.0

if __name__ == "__main__":
    main()
