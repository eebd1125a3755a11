"""``everloom fine-tune`` and ``everloom fine-tuning``: models made of examples by a running server, and watched."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from everloom.cli.options import AsJson, Config, Data, ProjectKey, Url, settings_of

fine_tuning = typer.Typer(help="Fine-tuning jobs of a running server.", no_args_is_help=True)

Which = Annotated[str, typer.Argument(help="A job's id.", show_default=False)]
ExampleFile = Annotated[
    Path, typer.Argument(help="Examples, as JSON Lines.", exists=True, dir_okay=False, readable=True)
]
ValidationFile = Annotated[
    Path | None,
    typer.Option(
        "--validation",
        help="Examples to measure with, that are not trained on.",
        exists=True,
        dir_okay=False,
        show_default=False,
    ),
]


def fine_tune(
    file: ExampleFile,
    model: Annotated[str, typer.Option(help="The model to begin with.", show_default=False)],
    validation: ValidationFile = None,
    method: Annotated[Literal["supervised", "dpo"], typer.Option(help="How it is trained.")] = "supervised",
    suffix: Annotated[str | None, typer.Option(help="Part of the new model's name.", show_default=False)] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the examples.", min=1, max=50)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples a step.", min=1, max=256)] = None,
    learning_rate_multiplier: Annotated[float | None, typer.Option(help="How fast it learns.", min=0, max=1000)] = None,
    beta: Annotated[float | None, typer.Option(help="How close dpo keeps to the base.", min=0, max=2)] = None,
    seed: Annotated[int | None, typer.Option(help="The same one trains the same model.", min=0)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until it has ended, and show how far it is.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Look at the files alone, and say what is in them.")] = False,
    url: Url = None,
    key: ProjectKey = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Make a model of your own: look at the examples, hand them to a running server, and have it trained.

    Status 1 where the files have faults, or a job that was watched did not succeed.
    """
    from everloom.cli.fine_tuning import FineTuningCommands, TuningPlan

    rate = learning_rate_multiplier
    plan = TuningPlan(
        file=file,
        validation=validation,
        model=model,
        method=method,
        suffix=suffix,
        seed=seed,
        numbers={"n_epochs": epochs, "batch_size": batch_size, "learning_rate_multiplier": rate, "beta": beta},
    )
    commands = FineTuningCommands(settings_of(data, config), url, key, as_json=as_json)
    raise typer.Exit(commands.check(plan) if check else commands.create(plan, watch=watch))


@fine_tuning.command("list")
def fine_tuning_list(
    limit: Annotated[int, typer.Option(help="How many, from the newest on.", min=1, max=100)] = 20,
    url: Url = None,
    key: ProjectKey = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Show the project's jobs, the newest first."""
    from everloom.cli.fine_tuning import FineTuningCommands

    FineTuningCommands(settings_of(data, config), url, key, as_json=as_json).list_newest(limit)


@fine_tuning.command("show")
def fine_tuning_show(
    job: Which,
    url: Url = None,
    key: ProjectKey = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Show a job as it stands, with its checkpoints."""
    from everloom.cli.fine_tuning import FineTuningCommands

    FineTuningCommands(settings_of(data, config), url, key, as_json=as_json).show(job)


@fine_tuning.command("watch")
def fine_tuning_watch(
    job: Which,
    url: Url = None,
    key: ProjectKey = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Stay until a job has ended, and show how far it is. Status 1 where it did not succeed."""

    from everloom.cli.fine_tuning import FineTuningCommands

    raise typer.Exit(FineTuningCommands(settings_of(data, config), url, key, as_json=as_json).watch(job))


def _moving(verb: Literal["cancel", "pause", "resume"], help: str) -> None:
    def command(
        job: Which,
        url: Url = None,
        key: ProjectKey = None,
        as_json: AsJson = False,
        data: Data = None,
        config: Config = None,
    ) -> None:
        from everloom.cli.fine_tuning import FineTuningCommands

        FineTuningCommands(settings_of(data, config), url, key, as_json=as_json).move(job, verb)

    fine_tuning.command(verb, help=help)(command)


_moving("cancel", "End a job. Its checkpoints stay.")
_moving("pause", "Have a job stop; what it has learned so far is kept.")
_moving("resume", "Have a paused job go on.")
