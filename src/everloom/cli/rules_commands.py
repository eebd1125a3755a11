"""``everloom limits``, and ``everloom projects models``: what holds for projects, for whoever has the database.

A running server obeys within two seconds.
"""

import asyncio
from typing import Annotated

import typer

from everloom.cli.options import AsJson, Config, Data, settings_of
from everloom.cli.organization_commands import Which, projects

limits = typer.Typer(help="What projects may ask of models and spend.", no_args_is_help=True)

Project = Annotated[
    str | None, typer.Option(help="A project's id or name; by default the organization.", show_default=False)
]
Dollars = Annotated[float, typer.Argument(help="US dollars a calendar month.", min=0)]


def _limit(what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=what, show_default=False)
    return option


@limits.command("list")
def limits_list(project: Which, as_json: AsJson = False, data: Data = None, config: Config = None) -> None:
    """Show what a project may ask of each model that it may see; an upstream's, where the settings here name it."""
    from everloom.cli import rules

    asyncio.run(rules.list_limits(settings_of(data, config), project, as_json=as_json))


@limits.command("set")
def limits_set(
    project: Which,
    model: Annotated[str, typer.Argument(help="As 'everloom limits list' shows it.")],
    requests_per_minute: Annotated[int | None, _limit("Requests in a minute.")] = None,
    tokens_per_minute: Annotated[int | None, _limit("Tokens in a minute.")] = None,
    images_per_minute: Annotated[int | None, _limit("Images in a minute.")] = None,
    audio_megabytes_per_minute: Annotated[int | None, _limit("Megabytes of sound in a minute.")] = None,
    requests_per_day: Annotated[int | None, _limit("Requests in a day.")] = None,
    batch_tokens_per_day: Annotated[int | None, _limit("Tokens that batches read in a day.")] = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Lower what a project may ask of a model, or raise it up to the operator's own limits in everloom.toml."""
    from everloom.cli import rules

    numbers = {
        "max_requests_per_1_minute": requests_per_minute,
        "max_tokens_per_1_minute": tokens_per_minute,
        "max_images_per_1_minute": images_per_minute,
        "max_audio_megabytes_per_1_minute": audio_megabytes_per_minute,
        "max_requests_per_1_day": requests_per_day,
        "batch_1_day_max_input_tokens": batch_tokens_per_day,
    }
    asyncio.run(rules.set_limits(settings_of(data, config), project, model, numbers, as_json=as_json))


@limits.command("spend")
def limits_spend(
    dollars: Annotated[
        float | None, typer.Argument(help="US dollars a calendar month; left out, the limit is shown.", min=0)
    ] = None,
    project: Project = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the limit away.")] = False,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Show or set what the organization, or a project, may spend in a month."""
    from everloom.cli import rules

    if remove and dollars is not None:
        raise typer.BadParameter("an amount and --remove exclude each other")
    settings = settings_of(data, config)
    asyncio.run(rules.spend_limit(settings, project, dollars, remove=remove, as_json=as_json))


@limits.command("alerts")
def limits_alerts(project: Project = None, as_json: AsJson = False, data: Data = None, config: Config = None) -> None:
    """Show who hears when how much has been spent."""
    from everloom.cli import rules

    asyncio.run(rules.list_alerts(settings_of(data, config), project, as_json=as_json))


@limits.command("alert")
def limits_alert(
    dollars: Dollars,
    recipients: Annotated[list[str], typer.Argument(help="Addresses of those who are to hear.")],
    project: Project = None,
    subject: Annotated[str | None, typer.Option(help="What the subject begins with.", show_default=False)] = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Have somebody hear when so much has been spent in a month."""
    from everloom.cli import rules

    settings = settings_of(data, config)
    asyncio.run(rules.create_alert(settings, project, dollars, recipients, subject, as_json=as_json))


@limits.command("unalert")
def limits_unalert(
    alert: Annotated[str, typer.Argument(help="An alert's id.")],
    project: Project = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """Take an alert away."""
    from everloom.cli import rules

    asyncio.run(rules.delete_alert(settings_of(data, config), project, alert))


@projects.command("models")
def projects_models(
    project: Which,
    allow: Annotated[list[str] | None, typer.Option(help="A model that it may use, and no other.")] = None,
    deny: Annotated[list[str] | None, typer.Option(help="A model that it may not use.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Let it use every model again.")] = False,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Show or set which models a project may use."""
    from everloom.cli import rules

    if bool(allow) + bool(deny) + everything > 1:
        raise typer.BadParameter("--allow, --deny and --all exclude each other")
    settings = settings_of(data, config)
    asyncio.run(rules.set_models(settings, project, allow or [], deny or [], everything=everything, as_json=as_json))
