"""Keys: what opens a project, or the organization's half of the API."""

from typing import Annotated, Literal, get_args

from msgspec import UNSET, Meta, Struct, UnsetType

from everloom.objects.base import Object
from everloom.objects.projects import Name
from everloom.objects.users import ProjectRole

Access = Literal["project", "admin", "open"]
"""Who may call an operation: who has a project's key, who has an admin key, anybody."""

Permissions = Literal["all", "restricted", "read_only"]

PermissionGroup = Literal["assistants", "threads", "files", "vector_stores", "model", "webhooks", "fine_tuning.jobs"]
"""What a restricted key may be given, group by group. ``model`` is asking models (``model.request``) and listing them
(``api.model.read``).
"""

GROUPS: tuple[PermissionGroup, ...] = get_args(PermissionGroup)
SCOPES = (*(f"api.{group}.{verb}" for group in GROUPS for verb in ("read", "write")), "model.request")
"""All that a restricted key may be given, in the platform's words. What may write may read."""


class Key(Object, kw_only=True):
    """A key as the server keeps it, which is never shown: of its secret the SHA-256 alone, in hex.

    ``project_id`` is the project that it opens; an admin key opens none, and has an empty one. ``owner_id`` is a user's
    or a service account's. ``last_used_at`` is right to about a minute.
    """

    secret_hash: str
    project_id: str
    owner_id: str
    name: str
    redacted_value: str
    permissions: Permissions = "all"
    scopes: list[str] = []
    """Of a restricted key: some of ``SCOPES``."""
    expires_at: int | None = None
    last_used_at: int | None = None

    @property
    def access(self) -> Access:
        """What kind of operation it is good for."""
        return "project" if self.project_id else "admin"

    def may(self, scope: str) -> bool:
        """Whether it may do what ``scope`` (of ``SCOPES``) names."""
        if self.permissions == "all":
            return True
        if self.permissions == "read_only":
            return scope.endswith(".read")
        return scope in self.scopes or (scope.endswith(".read") and f"{scope[:-5]}.write" in self.scopes)


class KeyUser(Struct, kw_only=True):
    """The person or the service account who has a project's key."""

    id: str
    name: str
    created_at: int
    role: ProjectRole | Literal["none"]
    object: Literal["organization.project.user", "organization.project.service_account"]
    added_at: int | UnsetType = UNSET
    email: str | UnsetType = UNSET


class KeyOwner(Struct, kw_only=True):
    """Who has a project's key: one of the two."""

    type: Literal["user", "service_account"]
    user: KeyUser | UnsetType = UNSET
    service_account: KeyUser | UnsetType = UNSET


OwnerAccess = Literal["active", "inactive"]
"""Whether who has a key may still enter its project; inactive ones open nothing."""


class ProjectApiKey(Struct, kw_only=True):
    """A project's key as it is shown (ProjectApiKey)."""

    object: Literal["organization.project.api_key"] = "organization.project.api_key"
    redacted_value: str
    name: str
    created_at: int
    last_used_at: int | None
    id: str
    expires_at: int | None = None
    owner_project_access: OwnerAccess
    owner: KeyOwner


class AdminKeyOwner(Struct, kw_only=True):
    """The user who has an admin key."""

    type: Literal["user"] = "user"
    object: Literal["organization.user"] = "organization.user"
    id: str
    name: str
    created_at: int
    role: Literal["owner", "reader"]


class AdminApiKey(Struct, kw_only=True):
    """An admin key as it is shown (AdminApiKey); ``value``, the secret, in the answer to its creation alone."""

    object: Literal["organization.admin_api_key"] = "organization.admin_api_key"
    id: str
    name: str
    redacted_value: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    owner: AdminKeyOwner
    value: str | UnsetType = UNSET


KeySeconds = Annotated[int, Meta(ge=1, le=31_536_000)]
"""How long a key opens something: up to a year."""


class NewAdminApiKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An admin key to be; without ``expires_in_seconds`` it does not expire."""

    name: Name
    expires_in_seconds: KeySeconds | None = None


class NewOperatorKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key of a project to be, as the command line asks for it."""

    name: Name
    permissions: Permissions = "all"
    scopes: list[str] = []
