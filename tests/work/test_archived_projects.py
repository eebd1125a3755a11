"""What becomes of the runs of a project that is archived."""

from everloom.context import Context
from everloom.objects.assistants import Assistant
from everloom.objects.messages import Message, Text, TextContent
from everloom.objects.projects import NewProject
from everloom.objects.runs import NewRun, Run
from everloom.objects.threads import Thread
from everloom.store.base import SYSTEM, Add
from everloom.work.organization import projects
from everloom.work.organization.establishing import establish
from everloom.work.runs import verbs
from everloom.work.runs.execution import execute
from tests.scripted import ScriptedUpstream
from tests.work.test_ingest import on_a_server


@on_a_server
async def test_a_run_of_an_archived_project_ends_and_says_why(ctx: Context, upstream: ScriptedUpstream) -> None:
    organization = Context.of(ctx.ports, SYSTEM)
    await establish(organization.store)
    project = await projects.create_project(organization, NewProject(name="Closing"))
    ctx = Context.of(ctx.ports, project.id)
    content = [TextContent(text=Text(value="Hello!"))]
    await ctx.store.write(
        Add(Assistant(id="asst_1", created_at=1, model="gpt-4o")),
        Add(Thread(id="thread_1", created_at=1)),
        Add(Message(id="msg_1", created_at=1, thread_id="thread_1", role="user", content=content)),
    )
    run = await verbs.begin(ctx, "thread_1", NewRun(assistant_id="asst_1"))
    await projects.archive_project(organization, project.id)
    await execute(ctx.ports, ctx.project, run.id)
    ended = await ctx.store.get(Run, run.id)
    assert ended.status == "failed"
    assert ended.last_error is not None
    assert ended.last_error.message == "Project Closing is archived"
    assert upstream.requests == []
