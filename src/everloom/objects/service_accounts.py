"""Service accounts: users of a project that are programs."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from everloom.objects.base import Object
from everloom.objects.keys import KeySeconds
from everloom.objects.projects import Name
from everloom.objects.users import ProjectRole


class ServiceAccount(Object, kw_only=True):
    """A program's account in a project. With the role ``none`` its keys open nothing."""

    project_id: str
    name: str
    role: Literal["owner", "member", "none"] = "member"


class ProjectServiceAccount(Struct, kw_only=True):
    """A service account as it is shown (ProjectServiceAccount)."""

    object: Literal["organization.project.service_account"] = "organization.project.service_account"
    id: str
    name: str
    role: Literal["owner", "member", "none"]
    created_at: int


class ServiceAccountKey(Struct, kw_only=True):
    """A new key of a service account; ``value`` is the secret, shown this once (ProjectServiceAccountApiKey)."""

    object: Literal["organization.project.service_account.api_key"] = "organization.project.service_account.api_key"
    value: str
    name: str
    created_at: int
    expires_at: int | None = None
    id: str


class CreatedServiceAccount(ProjectServiceAccount, kw_only=True):
    """The answer to a creation (ProjectServiceAccountCreateResponse)."""

    api_key: ServiceAccountKey | None


class NewServiceAccount(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ProjectServiceAccountCreateRequest. ``create_service_account_only``: without a role and without a key, which
    ``expires_in_seconds`` says the life of.
    """

    name: Name
    create_service_account_only: bool = False
    expires_in_seconds: KeySeconds | None = None


class ServiceAccountChanges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """UpdateProjectServiceAccountBody."""

    name: Name | UnsetType = UNSET
    role: ProjectRole | UnsetType = UNSET


class NewServiceAccountKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """CreateProjectServiceAccountApiKeyBody. Without ``scopes`` the key may do everything that its project may."""

    name: Name | None = None
    scopes: Annotated[list[str], Meta(min_length=1, max_length=64)] | None = None
    expires_in_seconds: KeySeconds | None = None
