"""Asking models, and metering what they answer."""
