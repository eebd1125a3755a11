"""Invites: how somebody becomes a user of the organization."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from everloom.objects.base import Object
from everloom.objects.users import Email, OrganizationRole, ProjectRole

MAX_PROJECTS = 100
"""Projects that one invite may open."""


class InvitedProject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project that an invite opens, and as what."""

    id: str
    role: ProjectRole


class Invite(Object, kw_only=True):
    """An invite. ``invited_at`` is its name of 2024 for ``created_at``; both are sent.

    ``status`` as kept: that the time of a pending one is over shows by ``expires_at``. ``accept_url`` is ours, and in
    the answer to its creation alone: the signed link that accepts it.
    """

    object: Literal["organization.invite"] = "organization.invite"
    email: str
    role: OrganizationRole
    status: Literal["pending", "accepted", "expired"] = "pending"
    invited_at: int
    expires_at: int
    accepted_at: int | None = None
    projects: list[InvitedProject] = []
    accept_url: str | UnsetType = UNSET


class NewInvite(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """InviteRequest. Without ``projects`` the default one is opened, with an empty list none."""

    email: Email
    role: OrganizationRole
    projects: Annotated[list[InvitedProject], Meta(max_length=MAX_PROJECTS)] | None = None
