"""Child processes in which models run: one of them, several of a kind, and how they are spoken with."""
