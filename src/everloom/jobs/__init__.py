"""Work that outlives the process that took it on."""
