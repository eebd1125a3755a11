"""The organization's half of the API: a file a tag, for admin keys alone.

Ids in the paths are looked up as they are: what is none of ours is not found.
"""
