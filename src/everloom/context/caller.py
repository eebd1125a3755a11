"""Who asks."""

from msgspec import Struct


class Caller(Struct, frozen=True, kw_only=True):
    """Whose request or job it is: what is bound to a project or counted is bound and counted by this.

    ``key_id`` names the key behind the request (``Key.id``), and ``user`` its owner, a user or a service account; both
    are empty where there is none, as in upkeep, which acts as the project itself. An admin key's project is ``SYSTEM``.
    ``email`` is a user's. ``batch``: for a line of a batch.
    """

    project: str
    key_id: str = ""
    user: str = ""
    email: str = ""
    batch: bool = False
