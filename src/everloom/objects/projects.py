"""Projects: whose objects are whose."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from everloom.objects.base import Object

_INVISIBLE = r"\s\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"

Name = Annotated[str, Meta(min_length=1, max_length=256, pattern=f"[^{_INVISIBLE}]")]
"""What people call a project, an account, a key: there is something in it to be seen."""


class Project(Object, kw_only=True):
    """A tenant of the server (ProjectObject): everything a program makes belongs to one."""

    object: Literal["organization.project"] = "organization.project"
    name: str
    archived_at: int | None = None
    status: Literal["active", "archived"] = "active"


class NewProject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project to be (ProjectCreateRequest). What is promised about where data lies is the operator's to keep, so that
    ``residency`` is ``GLOBAL`` or refused, and ``geography`` (its older name) and ``external_key_id`` are refused.
    """

    name: Name
    residency: str | None = None
    geography: str | None = None
    external_key_id: str | None = None


class ProjectChanges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ProjectUpdateRequest; as ``NewProject``."""

    name: Name | None = None
    geography: str | None = None
    external_key_id: str | None = None
