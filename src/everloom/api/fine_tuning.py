"""The Fine-tuning tag: models made of a base model and examples."""

from typing import Annotated

from msgspec import Meta, Struct

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.base import Page, PageQuery
from everloom.objects.fine_tuning import (
    FineTuningJob,
    FineTuningJobCheckpoint,
    FineTuningJobEvent,
    NewFineTuningJob,
)
from everloom.work.fine_tuning import verbs

routes = Routes(permission="fine_tuning.jobs")


class EventsQuery(Struct, frozen=True, kw_only=True):
    """``limit`` objects behind an id, the newest first."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    after: str | None = None

    @property
    def page(self) -> PageQuery:
        """As the store wants it."""
        return PageQuery(limit=self.limit, after=self.after)


class JobsQuery(EventsQuery, frozen=True, kw_only=True):
    """``metadata[key]=value``: pairs that all must be there; ``metadata=null``: there are none."""

    metadata: dict[str, str] | None = {}


class CheckpointsQuery(EventsQuery, frozen=True, kw_only=True):
    """As of events, fewer at a time."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 10


@routes.post("/fine_tuning/jobs")
async def create_fine_tuning_job(ctx: Context, body: NewFineTuningJob) -> FineTuningJob:
    """createFineTuningJob. What is wrong with the files' lines makes a failed job, and no refusal."""
    return await verbs.create(ctx, body)


@routes.get("/fine_tuning/jobs")
async def list_paginated_fine_tuning_jobs(ctx: Context, query: JobsQuery) -> Page[FineTuningJob]:
    """listPaginatedFineTuningJobs."""
    wanted = {} if query.metadata is None else query.metadata or None
    return await ctx.store.find(FineTuningJob, query.page, metadata=wanted)


@routes.get("/fine_tuning/jobs/{fine_tuning_job_id}")
async def retrieve_fine_tuning_job(ctx: Context, fine_tuning_job_id: str) -> FineTuningJob:
    """retrieveFineTuningJob."""
    return await verbs.the_job(ctx, fine_tuning_job_id)


@routes.post("/fine_tuning/jobs/{fine_tuning_job_id}/cancel")
async def cancel_fine_tuning_job(ctx: Context, fine_tuning_job_id: str) -> FineTuningJob:
    """cancelFineTuningJob."""
    return await verbs.cancel(ctx, fine_tuning_job_id)


@routes.post("/fine_tuning/jobs/{fine_tuning_job_id}/pause")
async def pause_fine_tuning_job(ctx: Context, fine_tuning_job_id: str) -> FineTuningJob:
    """pauseFineTuningJob, of the newest reference."""
    return await verbs.pause(ctx, fine_tuning_job_id)


@routes.post("/fine_tuning/jobs/{fine_tuning_job_id}/resume")
async def resume_fine_tuning_job(ctx: Context, fine_tuning_job_id: str) -> FineTuningJob:
    """resumeFineTuningJob, of the newest reference."""
    return await verbs.resume(ctx, fine_tuning_job_id)


@routes.get("/fine_tuning/jobs/{fine_tuning_job_id}/events")
async def list_fine_tuning_events(
    ctx: Context, fine_tuning_job_id: str, query: EventsQuery
) -> Page[FineTuningJobEvent]:
    """listFineTuningEvents."""
    job = await verbs.the_job(ctx, fine_tuning_job_id)
    return await ctx.store.find(FineTuningJobEvent, query.page, fine_tuning_job_id=job.id)


@routes.get("/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints")
async def list_fine_tuning_job_checkpoints(
    ctx: Context, fine_tuning_job_id: str, query: CheckpointsQuery
) -> Page[FineTuningJobCheckpoint]:
    """listFineTuningJobCheckpoints."""
    job = await verbs.the_job(ctx, fine_tuning_job_id)
    return await ctx.store.find(FineTuningJobCheckpoint, query.page, fine_tuning_job_id=job.id)
