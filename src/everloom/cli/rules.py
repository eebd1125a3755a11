"""What holds for projects, from the command line: their rate limits, models, spend limits and spend alerts."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec

from everloom.cli import CommandError
from everloom.cli.tables import say, show
from everloom.cli.telling import organization, project_of, read, show_one, whole
from everloom.config import Settings
from everloom.context import Context
from everloom.kit.errors import NotFound
from everloom.objects.base import JsonObject
from everloom.objects.model_permissions import NewModelPermissions
from everloom.objects.projects import Project
from everloom.objects.rate_limits import PREFIX, RateLimitChanges
from everloom.objects.rules import LIMITS, UNLIMITED
from everloom.objects.spending import NewSpendAlert, NewSpendLimit
from everloom.work.organization import model_permissions, rate_limits, spend_alerts, spend_limits

_SHORT = {
    "max_requests_per_1_minute": "requests/min",
    "max_tokens_per_1_minute": "tokens/min",
    "max_images_per_1_minute": "images/min",
    "max_audio_megabytes_per_1_minute": "audio MB/min",
    "max_requests_per_1_day": "requests/day",
    "batch_1_day_max_input_tokens": "batch tokens/day",
}
_WHICH = (
    "'everloom limits list' shows the models that the settings here know; those of the server's upstream are among "
    "them where EVERLOOM_UPSTREAM, or everloom.toml, says the same to both."
)
_LIMIT = ("whose", "limit", "status")
_STATUS = {"inactive": "not reached", "enforcing": "reached: refusing"}
"""Of a spend limit, for people: ``inactive`` looks as if it did not hold."""
_ALERTS = ("id", "amount", "recipients", "subject_prefix")
_MODELS = ("mode", "models")


@asynccontextmanager
async def _with_models(settings: Settings) -> AsyncIterator[Context]:
    """The organization's view, where the models' servers can be asked what they have."""
    async with organization(settings) as ctx:
        await ctx.ports.models.open()
        try:
            yield ctx
        finally:
            await ctx.ports.models.close()


# --- rate limits ---------------------------------------------------------------------------------------------------


async def list_limits(settings: Settings, project: str, *, as_json: bool) -> None:
    async with _with_models(settings) as ctx:
        found = await rate_limits.list_rate_limits(ctx, await project_of(ctx, project))
    _show_limits([msgspec.to_builtins(limit) for limit in found], as_json=as_json)


async def set_limits(
    settings: Settings, project: str, model: str, numbers: dict[str, int | None], *, as_json: bool
) -> None:
    """Set those of the limits that are given."""
    given = {name: number for name, number in numbers.items() if number is not None}
    if not given:
        raise CommandError("nothing to set: 'everloom limits set --help' names the limits")
    async with _with_models(settings) as ctx:
        id = await project_of(ctx, project)
        await ctx.store.get(Project, id)
        try:
            made = await rate_limits.update_rate_limit(ctx, id, PREFIX + model, read(given, RateLimitChanges))
        except NotFound as error:
            raise CommandError(f"{error.message} {_WHICH}") from error
    if as_json:
        say(made)
    else:
        _show_limits([msgspec.to_builtins(made)], as_json=False)


def _show_limits(limits: list[JsonObject], *, as_json: bool) -> None:
    if as_json:
        say(limits)
        return
    rows = [{"model": limit["model"]} | {_SHORT[name]: _number(limit, name) for name in LIMITS} for limit in limits]
    show(rows, ("model", *_SHORT.values()), as_json=False)


def _number(limit: JsonObject, name: str) -> str | None:
    """None where a limit does not concern a model."""
    number = limit.get(name)
    return None if number is None else "unlimited" if number >= UNLIMITED else f"{number:,}"


# --- models --------------------------------------------------------------------------------------------------------


async def set_models(
    settings: Settings, project: str, allow: list[str], deny: list[str], *, everything: bool, as_json: bool
) -> None:
    """Show what a project may use, once it has been set to what is given, if anything is."""
    async with organization(settings) as ctx:
        id = await project_of(ctx, project)
        if everything:
            await model_permissions.delete_model_permissions(ctx, id)
        elif allow or deny:
            asked: JsonObject = {"mode": "allow_list" if allow else "deny_list", "model_ids": allow or deny}
            await model_permissions.set_model_permissions(ctx, id, read(asked, NewModelPermissions))
        shown = await model_permissions.retrieve_model_permissions(ctx, id)
    if as_json:
        say(shown)
    else:
        mode = {"allow_list": "only these", "deny_list": "all but these"}[shown.mode]
        show([{"mode": mode, "models": ", ".join(shown.model_ids) or None}], _MODELS, as_json=False)


# --- what may be spent ---------------------------------------------------------------------------------------------


async def spend_limit(
    settings: Settings, project: str | None, dollars: float | None, *, remove: bool, as_json: bool
) -> None:
    """Show what may be spent in a month, once it has been set, if it has; or take the limit away."""
    async with organization(settings) as ctx:
        id = None if project is None else await project_of(ctx, project)
        if remove:
            await spend_limits.delete_spend_limit(ctx, id)
            print(f"{_whose(project)} may spend whatever it takes")
            return
        if dollars is None:
            shown = await spend_limits.retrieve_spend_limit(ctx, id)
        else:
            shown = await spend_limits.set_spend_limit(ctx, id, read(_amount(dollars), NewSpendLimit))
    if as_json:
        say(shown)
    else:
        row = {
            "whose": _whose(project),
            "limit": _dollars(shown.threshold_amount),
            "status": _STATUS[shown.enforcement.status],
        }
        show([row], _LIMIT, as_json=False)


async def list_alerts(settings: Settings, project: str | None, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        id = None if project is None else await project_of(ctx, project)
        alerts = await whole(partial(spend_alerts.list_spend_alerts, ctx, id))
    if as_json:
        say(alerts)
    else:
        show([_alert(alert) for alert in alerts], _ALERTS, as_json=False)


async def create_alert(
    settings: Settings,
    project: str | None,
    dollars: float,
    recipients: list[str],
    subject: str | None,
    *,
    as_json: bool,
) -> None:
    channel = {"type": "email", "recipients": recipients, "subject_prefix": subject}
    async with organization(settings) as ctx:
        id = None if project is None else await project_of(ctx, project)
        asked = read(_amount(dollars) | {"notification_channel": channel}, NewSpendAlert)
        made = await spend_alerts.create_spend_alert(ctx, id, asked)
    if as_json:
        say(made)
    else:
        show_one(_alert(msgspec.to_builtins(made)), _ALERTS, as_json=False)


async def delete_alert(settings: Settings, project: str | None, alert_id: str) -> None:
    async with organization(settings) as ctx:
        id = None if project is None else await project_of(ctx, project)
        await spend_alerts.delete_spend_alert(ctx, id, alert_id)
    print(f"Deleted {alert_id}")


def _whose(project: str | None) -> str:
    return "The organization" if project is None else project


def _amount(dollars: float) -> JsonObject:
    if not math.isfinite(dollars):
        raise CommandError(f"{dollars} is no amount of dollars")
    return {"threshold_amount": round(dollars * 100), "currency": "USD", "interval": "month"}


def _dollars(cents: int) -> str:
    return f"${cents / 100:,.2f} a month"


def _alert(alert: JsonObject) -> dict[str, Any]:
    channel = alert["notification_channel"]
    return {
        "id": alert["id"],
        "amount": _dollars(alert["threshold_amount"]),
        "recipients": ", ".join(channel["recipients"]),
        "subject_prefix": channel["subject_prefix"],
    }
