"""The ground floor: errors, ids, clock, log, event-stream framing. Knows nothing of the rest."""
