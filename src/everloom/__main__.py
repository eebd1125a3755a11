"""``python -m everloom`` is ``everloom``."""

from everloom.cli import main

if __name__ == "__main__":
    main()
