"""Projects: made, renamed, and archived, which is final."""

from contextlib import suppress

from msgspec import Struct

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import ApiError, BadRequest, NotFound
from everloom.kit.ids import new_id
from everloom.objects.projects import NewProject, Project, ProjectChanges
from everloom.store.base import SYSTEM, Add, Change
from everloom.work.organization.audit import recorded
from everloom.work.organization.establishing import DEFAULT_PROJECT


def archived(project: Project) -> ApiError:
    """The refusal of whatever would use or change a project that is archived."""
    return BadRequest(f"Project {project.name} is archived", code="project_archived")


def _refuse_archived(project: Project) -> None:
    if project.status == "archived":
        raise archived(project)


def open_project(project_id: str) -> Change[Project]:
    """Part of a write that needs the project to be there and open: nobody archives it before that write is through.

    Errors of the write: 400 where it is archived, 404.
    """
    return Change(Project, project_id, _refuse_archived)


async def the_open_project(ctx: Context, project_id: str) -> Project:
    """A project whose users or accounts are looked at. Errors: 400 where it is archived, 404."""
    project = await ctx.store.get(Project, project_id)
    _refuse_archived(project)
    return project


async def refuse_archived(ctx: Context) -> None:
    """For work that goes on behind a request, which no key is asked for: its project is still open. Errors: 400."""
    with suppress(NotFound):
        _refuse_archived(await ctx.ports.database.store(SYSTEM).get(Project, ctx.project))


def refuse_unkept(asked: Struct, **kept: str) -> None:
    """Refuse what nobody here would keep to: fields of the newest reference that ask for more than this server does,
    but for values that are ``kept`` anyway. Errors: 400.
    """
    for name in _UNKEPT:
        if getattr(asked, name, None) not in (None, kept.get(name)):
            text = f"Unsupported parameter: '{name}' is not supported on this server."
            raise BadRequest(text, param=name, code="unsupported_parameter")


_UNKEPT = ("residency", "geography", "external_key_id", "role_id")


async def create_project(ctx: Context, asked: NewProject) -> Project:
    """A new project, with nothing and nobody in it. Errors: 400 for what this server cannot promise."""
    refuse_unkept(asked, residency="GLOBAL")
    project = Project(id=new_id("proj_"), created_at=now(), name=asked.name)
    details = {"id": project.id, "data": {"name": project.name, "title": project.name}}
    await ctx.store.write(Add(project), recorded(ctx, "project.created", details, project=project.id))
    return project


async def modify_project(ctx: Context, project_id: str, asked: ProjectChanges) -> Project:
    """Rename a project. Errors: 400 for the default one, for one that is archived and for what this server cannot
    promise; 404.
    """
    refuse_unkept(asked)
    if project_id == DEFAULT_PROJECT:
        raise BadRequest("The default project cannot be changed.", code="default_project")

    def edit(project: Project) -> None:
        _refuse_archived(project)
        project.name = asked.name or project.name

    change = Change(Project, project_id, edit)
    changes = {} if asked.name is None else {"name": asked.name, "title": asked.name}
    details = {"id": project_id, "changes_requested": changes}
    written = await ctx.store.write(change, recorded(ctx, "project.updated", details, project=project_id))
    return written[change]


async def archive_project(ctx: Context, project_id: str) -> Project:
    """Close a project for good: its keys are refused from now on. Errors: 400 for the default one, and twice; 404."""
    if project_id == DEFAULT_PROJECT:
        raise BadRequest("The default project cannot be archived.", code="default_project")

    def edit(project: Project) -> None:
        _refuse_archived(project)
        project.status = "archived"
        project.archived_at = now()

    change = Change(Project, project_id, edit)
    written = await ctx.store.write(change, recorded(ctx, "project.archived", {"id": project_id}, project=project_id))
    ctx.ports.known_keys.forget()
    return written[change]
