"""The Projects tag."""

from everloom.api.http.paging import AfterQuery
from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.base import Page
from everloom.objects.projects import NewProject, Project, ProjectChanges
from everloom.work.organization import projects

routes = Routes(access="admin")


class ProjectsQuery(AfterQuery, frozen=True, kw_only=True):
    """``include_archived`` shows those too that are closed."""

    include_archived: bool = False


@routes.get("/organization/projects")
async def list_projects(ctx: Context, query: ProjectsQuery) -> Page[Project]:
    """list-projects."""
    if query.include_archived:
        return await ctx.store.find(Project, query.page)
    return await ctx.store.find(Project, query.page, status="active")


@routes.post("/organization/projects")
async def create_project(ctx: Context, body: NewProject) -> Project:
    """create-project."""
    return await projects.create_project(ctx, body)


@routes.get("/organization/projects/{project_id}")
async def retrieve_project(ctx: Context, project_id: str) -> Project:
    """retrieve-project."""
    return await ctx.store.get(Project, project_id)


@routes.post("/organization/projects/{project_id}")
async def modify_project(ctx: Context, project_id: str, body: ProjectChanges) -> Project:
    """modify-project."""
    return await projects.modify_project(ctx, project_id, body)


@routes.post("/organization/projects/{project_id}/archive")
async def archive_project(ctx: Context, project_id: str) -> Project:
    """archive-project."""
    return await projects.archive_project(ctx, project_id)
