"""Threads, their messages, and what files these bring along."""
