"""`milp backup` and `milp restore`: a service on one machine, into a folder and out of one. Needs no running service.

On purpose not over REST: a backup holds every tenant's histories, so it is for whoever owns the data folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Argument(help="The backup's folder.", metavar="FOLDER")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder of everything embedded (MILP_DATA_DIR).")]


def backup(folder: Folder, data_dir: DataDir = None) -> None:
    """Copy the database and all versions to a new folder, while the service runs or not."""
    from app.cli.errors import CliError
    from app.cli.serving import settings_with
    from app.embedded.backup import back_up

    made = back_up(settings_with(data_dir=data_dir), folder)
    if made.left_out:
        raise CliError(
            f"{folder} is a backup with {made.versions} versions, but the store had lost or damaged "
            f"{len(made.left_out)} before: {', '.join(made.left_out)}. Personalise their users again."
        )
    typer.echo(
        f"{folder}: the database and {made.versions} versions. Histories are in it: keep it as safe as the service."
    )


def restore(folder: Folder, data_dir: DataDir = None) -> None:
    """Make a new data folder of a backup; `milp up` then starts with it."""
    from app.cli.serving import settings_with
    from app.embedded.backup import restore as restore_from

    settings = settings_with(data_dir=data_dir)
    made = restore_from(settings, folder)
    typer.echo(f"{settings.data_dir}: as the service was on {made.made_at[:16].replace('T', ' ')} UTC.")
    typer.echo("Users deleted since then are back: delete them again before anybody asks (docs/operations.md).")
