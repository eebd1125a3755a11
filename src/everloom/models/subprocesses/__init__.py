"""Child processes in which models run, and what is said over their pipes."""
