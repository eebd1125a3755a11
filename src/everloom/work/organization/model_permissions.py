"""Which models a project may use. What it may not use does not exist for it: ``models/permitted.py``."""

from everloom.context import Context
from everloom.objects.model_permissions import NewModelPermissions, ProjectModelPermissions
from everloom.objects.rules import ModelPermissions, Rules
from everloom.work.organization.rules import change_rules, rules_of, updated


async def retrieve_model_permissions(ctx: Context, project_id: str) -> ProjectModelPermissions:
    """The permissions of a project, by which it may use every model where none have been set. Errors: 400 where it is
    archived, 404.
    """
    return _shown(await rules_of(ctx, project_id))


async def set_model_permissions(ctx: Context, project_id: str, asked: NewModelPermissions) -> ProjectModelPermissions:
    """Set or replace the permissions of a project. Errors: 400 where it is archived, 404."""

    def edit(rules: Rules) -> None:
        rules.models = ModelPermissions(mode=asked.mode, model_ids=list(asked.model_ids))

    changes = {"model_permissions": {"mode": asked.mode, "model_ids": list(asked.model_ids)}}
    return _shown(await change_rules(ctx, project_id, edit, updated(ctx, project_id, changes)))


async def delete_model_permissions(ctx: Context, project_id: str) -> None:
    """Have a project use every model again. Errors: 400 where it is archived, 404."""

    def edit(rules: Rules) -> None:
        rules.models = None

    await change_rules(ctx, project_id, edit, updated(ctx, project_id, {"model_permissions": None}))


def _shown(rules: Rules) -> ProjectModelPermissions:
    models = rules.models or ModelPermissions(mode="deny_list", model_ids=[])
    return ProjectModelPermissions(mode=models.mode, model_ids=models.model_ids)
