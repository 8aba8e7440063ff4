"""`milp keys`: API keys made, listed, rotated and revoked in the database of the settings, without a service.

On purpose not over REST, as the only command besides `up`: whoever can reach the database may do anything to it, so no
key is asked for. That is how the first key comes to be, how tenants do, and the way back in when every admin key is
lost. Admins without access to the database use /v1/keys. Knows no SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.access.audit import Deed
    from app.access.managing import Shown
    from app.database import Database

app = typer.Typer(no_args_is_help=True, help="Make, list, rotate and revoke API keys, in the database itself.")

_MAX_GRACE_HOURS = 30 * 24
KeyId = Annotated[str, typer.Argument(help="The key's id, as in `milp keys list`.", metavar="KEY_ID")]
TenantName = Annotated[str, typer.Option("--tenant", help="Whose key it is.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder of everything embedded (MILP_DATA_DIR).")]
Limit = Annotated[int | None, typer.Option(min=0, max=2**31 - 1, help="Default: the setting's. 0: no limit.")]


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="For people: which client has it.")],
    tenant: TenantName = "default",
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="read, write, answer or admin; may be repeated. Default: all but admin."),
    ] = None,
    days: Annotated[float | None, typer.Option("--days", min=0.001, help="Until it expires. Default: never.")] = None,
    requests_per_minute: Limit = None,
    tokens_per_day: Limit = None,
    concurrent_jobs: Limit = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it: it cannot be shown again. A tenant that is new is made with it."""
    from app.access import managing
    from app.access.key_text import SCOPES
    from app.cli.errors import CliError
    from app.tables import now

    chosen = scope or [known for known in SCOPES if known != "admin"]
    if unknown := sorted(set(chosen) - set(SCOPES)):
        raise CliError(f"There is no scope {unknown[0]}. Choose of: {', '.join(SCOPES)}.")
    if not 1 <= len(name) <= 64:
        raise CliError("A key's name is 1 to 64 characters.")
    wanted = managing.Wanted(
        name,
        [known for known in SCOPES if known in chosen],
        expires_at=now() + timedelta(days=days) if days is not None else None,
        requests_per_minute=requests_per_minute,
        tokens_per_day=tokens_per_day,
        concurrent_jobs=concurrent_jobs,
    )
    with _database(data_dir) as database:
        deed = _deed(managing.checked_tenant(tenant), "create")
        _show(managing.create(database, deed, wanted))


@app.command(name="list")
def list_(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant's. Default: all.")] = None,
    data_dir: DataDir = None,
) -> None:
    """List keys, newest first, without their secrets."""
    from rich.table import Table

    from app.access.managing import all_keys
    from app.cli.tables import console_for_tables

    table = Table("Id", "Tenant", "Name", "Scopes", "Made", "Last used", "State")
    with _database(data_dir) as database:
        for key, state in all_keys(database, tenant):
            used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "-"
            made = f"{key.created_at:%Y-%m-%d}"
            table.add_row(key.id, key.tenant_id, key.name, ", ".join(key.scopes), made, used, state)
    if table.row_count:
        console_for_tables().print(table)
    else:
        typer.echo("No keys yet. Make one with: milp keys create --name NAME")


@app.command()
def rotate(
    key_id: KeyId,
    grace_hours: Annotated[
        float,
        typer.Option(
            "--grace-hours", min=0, max=_MAX_GRACE_HOURS, help="How long the old one is still taken; 0 after a leak."
        ),
    ],
    tenant: TenantName = "default",
    data_dir: DataDir = None,
) -> None:
    """Give a key a new secret and print the key: it cannot be shown again."""
    from app.access import managing

    with _database(data_dir) as database:
        _show(managing.rotate(database, _deed(tenant, "rotate"), key_id, timedelta(hours=grace_hours)))


@app.command()
def revoke(key_id: KeyId, tenant: TenantName = "default", data_dir: DataDir = None) -> None:
    """Let a key in no more, from the next request on."""
    from app.access import managing

    with _database(data_dir) as database:
        managing.revoke(database, _deed(tenant, "revoke"), key_id)
    typer.echo(f"{key_id} is revoked.")


@contextmanager
def _database(data_dir: Path | None) -> Iterator[Database]:
    """The database of the settings, with its tables; what it refuses as one line."""
    from app.cli.errors import CliError
    from app.cli.serving import settings_with
    from app.database import Database
    from app.errors import ServiceError

    settings = settings_with(data_dir=data_dir)
    try:
        opened = Database(settings.resolved_database_url)
        try:
            opened.upgrade()
            yield opened
        finally:
            opened.dispose()
    except ServiceError as error:
        raise CliError(error.detail) from error


def _deed(tenant: str, what: str) -> Deed:
    from app.access.audit import OPERATOR, Deed

    return Deed(tenant, OPERATOR, f"milp keys {what}")


def _show(shown: Shown) -> None:
    """The key alone on stdout, so that a script can take it; what it is on stderr."""
    typer.echo(shown.text)
    key = shown.key
    typer.echo(f"That is {key.id} of tenant {key.tenant_id} ({', '.join(key.scopes)}). Keep it: ", err=True, nl=False)
    typer.echo("it cannot be shown again.", err=True)
