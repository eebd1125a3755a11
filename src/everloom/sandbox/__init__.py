"""Where a model's code runs: ``base.py`` is the port."""
