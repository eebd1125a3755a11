"""The webhook endpoints of a project from the command line: the verbs of the API, told as tables or in its JSON."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from everloom.cli.tables import say, show
from everloom.cli.telling import in_project, read, show_one, whole
from everloom.config import Settings
from everloom.context import Context
from everloom.objects.base import JsonObject
from everloom.objects.webhooks import (
    NewWebhookEndpoint,
    SecretRotation,
    WebhookEndpoint,
    WebhookEndpointChanges,
    WebhookEndpointWithSecret,
    WebhookTest,
)
from everloom.work.webhooks import endpoints

_COLUMNS = ("id", "name", "url", "event_types", "signing_secret_hint", "created_at")


@asynccontextmanager
async def _project(settings: Settings, name: str | None) -> AsyncIterator[Context]:
    """As ``in_project``, its courier closed at the end."""
    async with in_project(settings, name) as ctx:
        try:
            yield ctx
        finally:
            await ctx.ports.courier.close()


async def list_endpoints(settings: Settings, project: str | None, *, as_json: bool) -> None:
    async with _project(settings, project) as ctx:
        found = await whole(partial(ctx.store.find, WebhookEndpoint))
        show(found if as_json else [_in_line(each) for each in found], _COLUMNS, as_json=as_json)


async def create(
    settings: Settings, project: str | None, url: str, name: str, types: list[str], *, as_json: bool
) -> None:
    """Make an endpoint, and show its secret, this once."""
    async with _project(settings, project) as ctx:
        asked = read({"url": url, "name": name, "event_types": types}, NewWebhookEndpoint)
        _show_secret(await endpoints.create(ctx, asked), as_json=as_json)


async def update(
    settings: Settings, project: str | None, endpoint_id: str, changes: JsonObject, *, as_json: bool
) -> None:
    async with _project(settings, project) as ctx:
        asked = read(changes, WebhookEndpointChanges)
        show_one(await endpoints.update(ctx, endpoint_id, asked), _COLUMNS, as_json=as_json)


async def delete(settings: Settings, project: str | None, endpoint_id: str) -> None:
    async with _project(settings, project) as ctx:
        await endpoints.delete(ctx, endpoint_id)
    print(f"Deleted {endpoint_id}, with all that waited for it")


async def rotate(settings: Settings, project: str | None, endpoint_id: str, *, keep: bool, as_json: bool) -> None:
    """Give an endpoint another secret, and show it, this once."""
    async with _project(settings, project) as ctx:
        asked = SecretRotation(keep_old_secret_active_for_24_hours=keep)
        _show_secret(await endpoints.rotate_secret(ctx, endpoint_id, asked), as_json=as_json)


async def test(settings: Settings, project: str | None, endpoint_id: str, type: str, *, as_json: bool) -> None:
    async with _project(settings, project) as ctx:
        asked = read({"event_type": type}, WebhookTest)
        result = await endpoints.test(ctx, endpoint_id, asked.event_type)
        if as_json:
            say(result)
        else:
            print(f"{endpoint_id} answered a sample of {result.event_type} with {result.status_code}")


def _in_line(endpoint: JsonObject) -> JsonObject:
    return endpoint | {"event_types": ", ".join(endpoint["event_types"])}


def _show_secret(made: WebhookEndpointWithSecret, *, as_json: bool) -> None:
    if as_json:
        say(made)
    else:
        print(f"Endpoint: {made.id}\nSecret:   {made.signing_secret}\nThe secret is shown this once.")
