"""Batches: files of requests, each answered once, behind all live traffic and whatever dies (tag Batch)."""
