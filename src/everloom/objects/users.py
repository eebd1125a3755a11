"""People: the users of the organization, and what they are in its projects."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from everloom.objects.base import Object

Email = Annotated[str, Meta(min_length=3, max_length=320, pattern=r"^[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+\Z")]

OrganizationRole = Literal["owner", "reader"]
ProjectRole = Literal["owner", "member"]


class User(Object, kw_only=True):
    """Somebody who belongs to the organization. ``email`` is kept in lower case, and no two have the same."""

    created_at: int = field(name="added_at")
    object: Literal["organization.user"] = "organization.user"
    name: str
    email: str
    role: OrganizationRole
    technical_level: str | UnsetType = UNSET
    developer_persona: str | UnsetType = UNSET
    """What the organization says of its people; nothing here goes by it."""


Said = Annotated[str, Meta(max_length=256)]


class UserChanges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """UserRoleUpdateRequest. ``role_id`` names roles of an organization's own making, which there are none of here."""

    role: OrganizationRole | None = None
    role_id: str | None = None
    technical_level: Said | None = None
    developer_persona: Said | None = None


class Membership(Object, kw_only=True):
    """That a user is in a project. ``id`` is the user's own; the table's key is the project's and it."""

    project_id: str
    role: ProjectRole

    @property
    def key(self) -> str:
        """What the table knows it by."""
        return membership_key(self.project_id, self.id)

    @property
    def user_id(self) -> str:
        """Its id, as a column to find it by in whatever project it is."""
        return self.id


def membership_key(project_id: str, user_id: str) -> str:
    """The key of a user's place in a project."""
    return f"{project_id}.{user_id}"


class ProjectUser(Struct, kw_only=True):
    """A membership as it is shown, with its user (ProjectUser)."""

    object: Literal["organization.project.user"] = "organization.project.user"
    id: str
    name: str
    email: str
    role: ProjectRole
    added_at: int


class NewProjectUser(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ProjectUserCreateRequest: who is to be in a project, by ``user_id`` or, as later on the platform, ``email``."""

    role: ProjectRole
    user_id: str | None = None
    email: Email | None = None


class ProjectUserChanges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ProjectUserUpdateRequest."""

    role: ProjectRole | None = None
