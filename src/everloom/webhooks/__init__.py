"""Webhooks: events of a project on their way to other people's servers."""
