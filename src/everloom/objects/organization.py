"""The organization that a server serves: one, with its users, projects and keys."""

from everloom.objects.base import Object

ORGANIZATION = "org-everloom"
"""Its id: fixed, so that two servers that start at once make one."""


class Organization(Object, kw_only=True):
    """The organization. No operation shows it; its row is what every change of who owns it locks.

    ``secret`` (hex) signs the links of its invites. ``started`` once there has been a key: then a start makes none.
    """

    name: str
    secret: str
    started: bool = False
