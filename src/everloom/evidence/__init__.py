"""What stands outside the database for the audit log: the key that signs its checkpoints, their witness, and sinks."""
