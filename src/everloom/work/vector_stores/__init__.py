"""Vector stores: files read, cut, embedded and searched."""
