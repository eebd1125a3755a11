"""What was used, as the organization is shown it; and the keeping of its ledger."""
