"""The organization's half of the API."""
