"""Verbs of fine-tuning jobs: made, looked at, trained, ended, and the models that come of them."""
