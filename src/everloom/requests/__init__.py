"""What may be asked of a model: each request with its check, read the same from a live request, a batch and a run."""
