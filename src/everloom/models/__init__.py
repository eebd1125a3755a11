"""Whoever answers for a model: the local engine, or an OpenAI-compatible server."""
