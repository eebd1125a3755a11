"""Fine-tuning at another server, by its own API."""
