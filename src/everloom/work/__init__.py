"""Verbs that outlive a request or have a second caller."""
