"""Transcription and translation on this machine: engines in child processes, and the forms of transcripts."""
