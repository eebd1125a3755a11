"""Speech on this machine: engines in child processes, and the formats of audio."""
