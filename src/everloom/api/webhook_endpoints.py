"""The Webhooks tag of the newest SDK: where a project is told of what happens in it."""

from typing import Annotated

from msgspec import Meta, Struct

from everloom.api.http.routes import Request, Routes
from everloom.context import Context
from everloom.objects.base import Deleted, Page, PageQuery
from everloom.objects.webhooks import (
    NewWebhookEndpoint,
    SecretRotation,
    WebhookEndpoint,
    WebhookEndpointChanges,
    WebhookEndpointWithSecret,
    WebhookEventTypes,
    WebhookTest,
    WebhookTestResult,
)
from everloom.work.webhooks import endpoints

routes = Routes(permission="webhooks", ids={"webhook_endpoint_id": WebhookEndpoint})


class WebhooksQuery(Struct, frozen=True, kw_only=True):
    """The list parameters of webhook endpoints, of which the newest comes first."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    after: str | None = None


@routes.get("/webhook_endpoints")
async def list_webhook_endpoints(ctx: Context, query: WebhooksQuery) -> Page[WebhookEndpoint]:
    """``webhooks.list``."""
    return await ctx.store.find(WebhookEndpoint, PageQuery(limit=query.limit, after=query.after))


@routes.post("/webhook_endpoints")
async def create_webhook_endpoint(ctx: Context, body: NewWebhookEndpoint) -> WebhookEndpointWithSecret:
    """``webhooks.create``."""
    return await endpoints.create(ctx, body)


@routes.get("/webhook_endpoints/{webhook_endpoint_id}")
async def retrieve_webhook_endpoint(ctx: Context, webhook_endpoint_id: str) -> WebhookEndpoint:
    """``webhooks.retrieve``."""
    return await ctx.store.get(WebhookEndpoint, webhook_endpoint_id)


@routes.post("/webhook_endpoints/{webhook_endpoint_id}")
async def update_webhook_endpoint(
    ctx: Context, webhook_endpoint_id: str, body: WebhookEndpointChanges
) -> WebhookEndpoint:
    """``webhooks.update``."""
    return await endpoints.update(ctx, webhook_endpoint_id, body)


@routes.delete("/webhook_endpoints/{webhook_endpoint_id}")
async def delete_webhook_endpoint(ctx: Context, webhook_endpoint_id: str) -> Deleted:
    """``webhooks.delete``."""
    await endpoints.delete(ctx, webhook_endpoint_id)
    return Deleted(id=webhook_endpoint_id, object="webhook_endpoint.deleted")


@routes.post("/webhook_endpoints/{webhook_endpoint_id}/rotate_secret")
async def rotate_webhook_endpoint_secret(
    ctx: Context, webhook_endpoint_id: str, body: SecretRotation
) -> WebhookEndpointWithSecret:
    """``webhooks.rotate_secret``. A request without a body is one that keeps nothing of the old secret."""
    return await endpoints.rotate_secret(ctx, webhook_endpoint_id, body)


@routes.post("/webhook_endpoints/{webhook_endpoint_id}/test")
async def test_webhook_endpoint(
    ctx: Context, request: Request, webhook_endpoint_id: str, body: WebhookTest
) -> WebhookTestResult:
    """``webhooks.test``."""
    return await request.unless_gone(endpoints.test(ctx, webhook_endpoint_id, body.event_type))


@routes.get("/webhook_event_types")
async def list_webhook_event_types(ctx: Context) -> WebhookEventTypes:
    """``webhooks.event_types.list``."""
    return WebhookEventTypes()
