"""``everloom chat``: talk to an assistant in the terminal."""

from functools import partial
from typing import Annotated

import typer

from everloom.cli import CommandError
from everloom.cli.options import Config, Data, ProjectKey, Url, settings_of


def chat(
    assistant: Annotated[
        str | None, typer.Option(help="An assistant's id; else one without tools is made.", show_default=False)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask; by default the first.", show_default=False)] = None,
    thread: Annotated[str | None, typer.Option(help="A thread's id, to go on there.", show_default=False)] = None,
    url: Url = None,
    key: ProjectKey = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """Talk in the terminal, to a running server or one of its own. Questions may come by a pipe, one a line."""
    from everloom.cli.chat import Chat, ChatPlan
    from everloom.cli.chat_server import server_to_ask
    from everloom.cli.client import project_client
    from everloom.cli.demo import local_model
    from everloom.cli.own_server import ending_by_signals

    settings = settings_of(data, config)
    plan = ChatPlan(assistant, model, thread)
    try:
        with ending_by_signals(), server_to_ask(settings, url, key, data, config) as (base, secret):
            asking = partial(project_client, settings, base, secret, **{"openai-beta": "assistants=v2"})
            raise typer.Exit(Chat(asking, plan, local_model(settings)).hold())
    except KeyboardInterrupt:
        raise CommandError("", status=130) from None
