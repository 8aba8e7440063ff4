"""The `milp` command: its commands and their options, and the one place where a failure becomes one line.

Every command imports what it needs when it runs, so that `milp --help` stays quick; nothing heavy may be imported here.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from app.cli import backups, keys, webhooks
from app.cli.errors import CliError, Terminated
from app.cli.options import Key, Url

_SIGNALLED = {"SIGTERM": 143, "SIGHUP": 129}


class _Commands(TyperGroup):
    """Turns whatever a command raises into one line on stderr and an exit code other than zero."""

    def invoke(self, ctx: Any) -> Any:
        from app.embedded.errors import EmbeddedError, PartFailedError

        try:
            return super().invoke(ctx)
        except PartFailedError as error:
            for line in error.log_tail:
                typer.echo(f"  | {line}", err=True)
            _fail(str(error))
        except (CliError, EmbeddedError) as error:
            _fail(str(error))
        except Terminated as error:
            raise typer.Exit(_SIGNALLED[str(error)]) from None
        except (KeyboardInterrupt, typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except UnicodeEncodeError as error:
            _fail(_unsendable(error, sys.argv[1:]))
        except Exception as error:
            if os.environ.get("MILP_LOG_LEVEL") == "debug" or type(error).__module__.startswith("typer"):
                raise
            said = " ".join(str(error).split())
            _fail(f"{type(error).__name__}: {said} (MILP_LOG_LEVEL=debug shows where)")


def _fail(line: str) -> None:
    typer.echo(f"milp: {line}", err=True)
    raise typer.Exit(1)


def _unsendable(error: UnicodeEncodeError, arguments: list[str]) -> str:
    """What to do about a text that cannot be encoded: an argument the terminal wrote in another encoding, or else.

    Checked only once it has failed: a file's name may be any bytes, and is then still found.
    """
    for argument in arguments:
        if any("\ud800" <= character <= "\udfff" for character in argument):
            return f"The argument {argument!a} is not UTF-8. Write it from a terminal set to UTF-8 (LANG=C.UTF-8)."
    wrong = ascii(error.object[error.start : error.end])
    return f"A text holds {wrong}, which cannot be sent or printed as {error.encoding}. Take it out and try again."


app = typer.Typer(
    cls=_Commands,
    help="Personalise a language model: train a person's history into a stack of LoRAs, and answer with it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")

User = Annotated[str, typer.Argument(help="The user's id.", metavar="USER")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder of everything embedded (MILP_DATA_DIR).")]
Trials = Annotated[int | None, typer.Option("--trials", min=2, max=1000, help="Most trials, the base's included.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, max=2**31 - 1, help="Replays a search exactly.")]
SurrogateName = Annotated[
    str | None, typer.Option("--surrogate", help="map_saas, ensemble_map_saas, fully_bayesian_saas or random.")
]
PresetName = Annotated[str | None, typer.Option("--preset", help="Search budget: quick, standard or paper.")]
Mode = Annotated[str, typer.Option("--mode", help="auto, personalized, memory or base.")]


@app.command()
def up(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option("--host", help="Address the API binds (MILP_HOST).")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Its port (MILP_PORT).")] = None,
) -> None:
    """Start the whole service here: private Redis, database, worker and API. Ctrl-C stops it."""
    from app.cli import serving

    serving.up(serving.settings_with(data_dir=data_dir, host=host, port=port))


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option("--data", help="Histories, one JSON object per user and line. Default: examples/")
    ] = None,
    user: Annotated[list[str] | None, typer.Option("--user", help="Whose history; may be repeated.")] = None,
    trials: Annotated[int, typer.Option("--trials", min=2, max=1000, help="Trials for each user.")] = 14,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Replays the searches exactly.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="Folder of pictures and reports.")] = Path("milp-report"),
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Import users, personalise the model for each, and report what it bought. Starts a service if none answers."""
    from app.cli import serving
    from app.cli.demo import chosen_histories, run

    histories = chosen_histories(data, user or [])
    options = {"preset": "quick", "trials": trials, "seed": seed}
    with serving.running_or_started(url, api_key) as service:
        run(service, histories, options=options, out=out)


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="Histories (one user a line), or OpenAI chat JSONL with --user.")],
    user: Annotated[list[str] | None, typer.Option("--user", help="Only this user; may be repeated.")] = None,
    file_format: Annotated[
        str | None,
        typer.Option("--format", help="What the file is: milp, openai-chat, csv, lamp, amazonqa, malp, msp or irc."),
    ] = None,
    second_file: Annotated[
        Path | None, typer.Option("--second-file", help="What belongs to the file: lamp's outputs, irc's annotation.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Only write the histories to this file, one user a line; send nothing.")
    ] = None,
    personalize: Annotated[
        bool | None,
        typer.Option("--personalize/--no-personalize", help="Start a job for each. Default: if there is enough."),
    ] = None,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Send histories from a file."""
    from app.cli import commands, serving

    if file_format is None:
        if second_file is not None or out is not None:
            raise CliError("--second-file and --out need --format: say what the file is.")
        with serving.client(url, api_key) as client:
            commands.import_file(client, file, user or [], personalize)
        return
    conversion = commands.convert(file_format, file, second_file, user or [], serving.settings_with())
    if out is not None:
        commands.write_converted(conversion, out)
        return
    with serving.client(url, api_key) as client:
        commands.import_converted(client, conversion, personalize)


@app.command()
def personalize(
    user: User,
    preset: PresetName = None,
    trials: Trials = None,
    max_seconds: Annotated[float | None, typer.Option("--max-seconds", help="No new trials after that.")] = None,
    seed: Seed = None,
    surrogate: SurrogateName = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Show progress until the job ends.")] = True,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Search and train this user's stack, with a progress bar."""
    from app.cli import commands, serving

    options = {
        "preset": preset,
        "trials": trials,
        "max_seconds": max_seconds,
        "seed": seed,
        "surrogate": surrogate,
    }
    with serving.client(url, api_key) as client:
        commands.personalize(client, user, {k: v for k, v in options.items() if v is not None}, wait=wait)


@app.command()
def status(
    what: Annotated[str | None, typer.Argument(help="A job's or a user's id. Default: the service.")] = None,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """How a job, a user or the service is doing."""
    from app.cli import commands, serving

    with serving.client(url, api_key) as client:
        commands.status(client, what)


@app.command()
def ask(
    user: User,
    query: Annotated[str, typer.Argument(help="The question.")],
    mode: Mode = "auto",
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Ask one question and print the answer."""
    from app.cli import commands, serving

    with serving.client(url, api_key) as client:
        commands.ask(client, user, query, mode)


@app.command()
def chat(user: User, mode: Mode = "auto", url: Url = None, api_key: Key = None) -> None:
    """Ask question after question; an empty line or Ctrl-D ends it."""
    from app.cli import commands, serving

    with serving.client(url, api_key) as client:
        commands.chat(client, user, mode, sys.stdin)


@app.command()
def export(
    user: User,
    version: Annotated[str | None, typer.Option("--version", help="Default: the active one, else the newest.")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="File to write. Default: USER-VERSION.zip")] = None,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Write a user's version as a zip that PEFT loads."""
    from app.cli import commands, serving

    with serving.client(url, api_key) as client:
        commands.export(client, user, version, to)


@app.command()
def forget(
    user: User,
    receipt: Annotated[Path | None, typer.Option("--receipt", help="New file for the signed receipt.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether you mean it.")] = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Erase a user with everything, for a signed receipt. It cannot be undone."""
    from app.cli import forgetting, serving

    if not yes:
        typer.confirm(f"Erase {user} with history, jobs and versions?", abort=True)
    with serving.client(url, api_key) as client:
        forgetting.forget(client, user, receipt)


@app.command()
def users(url: Url = None, api_key: Key = None) -> None:
    """List users."""
    from app.cli import commands, serving

    with serving.client(url, api_key) as client:
        commands.users(client)


@app.command()
def jobs(
    user: Annotated[str | None, typer.Option("--user", help="Only this user's.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only with this status.")] = None,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """List personalization jobs, newest first."""
    from app.cli import commands, serving

    with serving.client(url, api_key) as client:
        commands.jobs(client, user, status)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    options_metavar="[OPTIONS] [GRID]",
)
def evaluate(context: typer.Context) -> None:
    """Measure which method serves each user of a file best: the paper's tables. --help lists its options."""
    # Another program in this one's place: it knows the engine, which this command line must not.
    os.execv(sys.executable, [sys.executable, "-m", "evaluation", *context.args])


app.command()(backups.backup)
app.command()(backups.restore)

if __name__ == "__main__":
    app()
