"""Where a model's code runs: apart from everything, with nothing to lose."""
