"""Projects, and the keys that open them."""

from typing import Literal

from everloom.objects.base import Object


class Project(Object, kw_only=True):
    """A tenant of the server (ProjectObject): everything a program makes belongs to one."""

    object: Literal["organization.project"] = "organization.project"
    name: str
    archived_at: int | None = None
    status: Literal["active", "archived"] = "active"


class KeyHash(Object, kw_only=True):
    """A key as the server keeps it: ``id`` is the SHA-256 of the secret in hex, never the secret.

    ``scope`` is ``project`` (the API) or ``admin`` (the organization's half); an admin key has no project.
    """

    scope: Literal["project", "admin"]
    project_id: str | None
    name: str
    redacted_value: str
