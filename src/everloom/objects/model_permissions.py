"""Model permissions of projects as they are shown and asked for."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

ModelId = Annotated[str, Meta(min_length=1, max_length=256)]


class ProjectModelPermissions(Struct, kw_only=True):
    """ProjectModelPermissions. Where none have been set: a deny-list of nothing, which is what holds then."""

    object: Literal["project.model_permissions"] = "project.model_permissions"
    mode: Literal["allow_list", "deny_list"]
    model_ids: list[str]


class NewModelPermissions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ProjectModelPermissionsUpdateRequest. Names that nobody serves may be among them."""

    mode: Literal["allow_list", "deny_list"]
    model_ids: Annotated[list[ModelId], Meta(max_length=1000)]


class ModelPermissionsDeleted(Struct, kw_only=True):
    """ProjectModelPermissionsDeleteResponse."""

    object: Literal["project.model_permissions.deleted"] = "project.model_permissions.deleted"
    deleted: bool = True
