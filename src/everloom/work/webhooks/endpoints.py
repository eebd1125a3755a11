"""Webhook endpoints: made, changed, deleted, tried; and their secrets."""

from msgspec import UNSET, structs

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import BadRequest, RateLimited
from everloom.kit.ids import new_id
from everloom.objects.base import encode
from everloom.objects.webhooks import (
    MAX_ENDPOINTS,
    NewWebhookEndpoint,
    OldSecret,
    SecretRotation,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEndpointChanges,
    WebhookEndpointWithSecret,
    WebhookEvent,
    WebhookEventType,
    WebhookState,
    WebhookTestResult,
)
from everloom.store.base import Add, Change, Operation, Remove, change_one
from everloom.webhooks.base import Undelivered
from everloom.work.changes import unless_leaving
from everloom.work.webhooks.signing import hint, new_secret, signed

OLD_SECRET_SECONDS = 24 * 3600

_OLD_SECRETS = 3
"""How many sign beside the present one: whoever rotates more often than that within a day has lost the oldest."""


async def create(ctx: Context, asked: NewWebhookEndpoint) -> WebhookEndpointWithSecret:
    """A new endpoint, with the secret that signs what it gets. Errors: 400 for its URL and where there are too many."""
    _check(ctx, asked.url)
    # Not counted in the write itself: many who ask at once may have a few more.
    if len(await ctx.store.all(WebhookEndpoint)) >= MAX_ENDPOINTS:
        raise BadRequest(
            f"A project has {MAX_ENDPOINTS} webhook endpoints at the most.", code="too_many_webhook_endpoints"
        )
    secret, made = new_secret(), now()
    endpoint = WebhookEndpoint(
        id=new_id("whe_"),
        created_at=made,
        event_types=_once(asked.event_types),
        name=asked.name,
        signing_secret_hint=hint(secret),
        url=asked.url,
        updated_at=made,
    )
    state = WebhookState(id=endpoint.id, created_at=made, event_types=endpoint.event_types, secret=secret)
    await ctx.store.write(Add(endpoint), Add(state))
    return _with_secret(endpoint, secret)


async def update(ctx: Context, endpoint_id: str, asked: WebhookEndpointChanges) -> WebhookEndpoint:
    """Change what is asked for. Events that wait are delivered as it is then. Errors: 400 for the URL, 404."""
    if asked.url is not UNSET:
        _check(ctx, asked.url)

    def edit(endpoint: WebhookEndpoint) -> None:
        before = structs.replace(endpoint)
        if asked.event_types is not UNSET:
            endpoint.event_types = _once(asked.event_types)
        if asked.name is not UNSET:
            endpoint.name = asked.name
        if asked.url is not UNSET:
            endpoint.url = asked.url
        if endpoint != before:
            endpoint.updated_at = now()

    def follow(endpoint: WebhookEndpoint) -> list[Operation]:
        return [Change(WebhookState, endpoint.id, lambda state: setattr(state, "event_types", endpoint.event_types))]

    return await change_one(ctx.store, Change(WebhookEndpoint, endpoint_id, edit, then=follow))


async def delete(ctx: Context, endpoint_id: str) -> None:
    """Take an endpoint away, with all that waits for it. Errors: 404."""
    await ctx.store.write(
        Remove(WebhookEndpoint, endpoint_id),
        Remove(WebhookState, [endpoint_id]),
        Remove(WebhookDelivery, endpoint_id=endpoint_id),
    )


async def rotate_secret(ctx: Context, endpoint_id: str, asked: SecretRotation) -> WebhookEndpointWithSecret:
    """Give an endpoint another secret. Where the old one is kept, both sign for a day; else it, and whatever was kept
    of earlier ones, signs nothing from now on. Errors: 404.
    """
    secret, at = new_secret(), now()

    def turn(state: WebhookState) -> None:
        kept = [OldSecret(secret=state.secret, until=at + OLD_SECRET_SECONDS), *state.old_secrets]
        state.old_secrets = kept[:_OLD_SECRETS] if asked.keep_old_secret_active_for_24_hours else []
        state.secret = secret

    def show(endpoint: WebhookEndpoint) -> None:
        endpoint.signing_secret_hint, endpoint.updated_at = hint(secret), at

    change = Change(WebhookEndpoint, endpoint_id, show)
    written = await ctx.store.write(change, Change(WebhookState, endpoint_id, turn))
    return _with_secret(written[change], secret)


async def test(ctx: Context, endpoint_id: str, type: WebhookEventType) -> WebhookTestResult:
    """Send a sample of an event at once, and say how it was answered; it is not tried again. Errors: 404; 400 where
    there was no answer; 429 while others are tried.
    """
    endpoint = await ctx.store.get(WebhookEndpoint, endpoint_id)
    state = await ctx.store.get(WebhookState, endpoint_id)
    at = now()
    data = {"id": "run_abc123", "thread_id": "thread_abc123"} if type.startswith("thread.") else {"id": "batch_abc123"}
    body = encode(WebhookEvent(id=new_id("evt_"), created_at=at, type=type, data=data)).decode()
    with ctx.ports.outgoing.tests.take(ctx.project) as free:
        if not free:
            raise RateLimited("Other webhook endpoints are being tested; please try again in a moment.", retry_after=5)
        try:
            headers = signed(new_id("wh_"), at, body, secrets_of(state, at))
            status = await unless_leaving(ctx, ctx.ports.courier.post(endpoint.url, body.encode(), headers))
        except Undelivered as problem:
            raise BadRequest(f"The webhook endpoint gave no answer: {problem}.", code="webhook_test_failed") from None
    return WebhookTestResult(event_type=type, status_code=status, webhook_endpoint_id=endpoint_id)


def secrets_of(state: WebhookState, at: float) -> list[str]:
    """The secrets that sign at a time, the present one first."""
    return [state.secret, *(old.secret for old in state.old_secrets if old.until > at)]


def _check(ctx: Context, url: str) -> None:
    if problem := ctx.ports.courier.problem(url):
        raise BadRequest(f"Invalid 'url': {problem}.", param="url", code="invalid_value")


def _once(types: list[WebhookEventType]) -> list[str]:
    return list(dict.fromkeys(types))


def _with_secret(endpoint: WebhookEndpoint, secret: str) -> WebhookEndpointWithSecret:
    return WebhookEndpointWithSecret(**structs.asdict(endpoint), signing_secret=secret)
