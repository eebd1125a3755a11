"""Everloom: the OpenAI platform API of December 2024 as a server anyone can run."""

__version__ = "0.1.0"
