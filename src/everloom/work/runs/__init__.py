"""Runs: begun, executed, streamed, cancelled, expired."""
