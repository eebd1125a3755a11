"""Trainers: what makes a tuned model of a base model and examples. ``base.py`` says what is promised."""
