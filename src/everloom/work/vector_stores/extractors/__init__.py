"""Readers of file formats, a module each. They run in the child process of ``extraction.py`` and nowhere else."""
