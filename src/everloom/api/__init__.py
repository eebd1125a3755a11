"""The HTTP floor: a file per tag of the reference, each handler one operation."""
