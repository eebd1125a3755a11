"""The organization: who belongs to it, its projects, and the keys that open them.

Each verb that changes something ends in one ``store.write``, in which everything that it depends on is asked or locked.
"""
