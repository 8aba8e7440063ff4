"""Which service a command talks to: one that runs, or one started for it and stopped with it. Knows no command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from app.cli.client import ServiceClient
from app.cli.errors import CliError, ServiceAwayError
from app.cli.signals import end_in_order
from app.embedded.own_key import own_key_file, read_own_key
from app.embedded.service import EmbeddedService, local_url
from app.settings import Settings


@dataclass(frozen=True)
class Service:
    """A service to use.

    Args:
        check: raises if it was started for us and a part of it has ended.
        store: its adapter store where that is a folder we started it on, else None.
        ours: whether it was started for this command.
    """

    client: ServiceClient
    check: Callable[[], None]
    store: Path | None
    ours: bool


def settings_with(**given: Any) -> Settings:
    """Settings of environment and .env, with what the command line gives on top."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = error.errors()[0]
        name = "_".join(str(part) for part in wrong["loc"][:1]).upper()
        raise CliError(f"The setting MILP_{name} is wrong: {wrong['msg']}.") from None
    except SettingsError:  # only of a setting that is itself JSON, of which there is this one
        raise CliError(
            "The setting MILP_API_KEYS is not JSON. Write an object of keys and their tenants, as in "
            """MILP_API_KEYS='{"a-long-secret": "default"}', or leave it out: `milp keys` makes keys without it."""
        ) from None


def client(url: str | None, api_key: str | None) -> ServiceClient:
    """A client of the service at `url`, or of the one `milp up` starts with these settings."""
    settings = settings_with()
    return ServiceClient(url or local_url(settings), api_key or own_key(settings, url))


def up(settings: Settings) -> None:
    """Run a service until a signal, or until a part of it ends."""
    end_in_order()
    try:
        with EmbeddedService(settings, _say_starting) as service:
            typer.echo(f"Ready at {service.url} (API description: {service.url}/docs)")
            if not service.settings.api_keys:
                file = own_key_file(service.settings.data_dir)
                typer.echo(
                    f'Other clients than `milp` send its key, as in: curl -H "Authorization: Bearer $(cat {file})"'
                )
            typer.echo(f"Data and logs: {service.settings.data_dir}. Ctrl-C stops everything.")
            service.wait()
    except KeyboardInterrupt:  # how a service is ordinarily stopped, SIGTERM included: no failure
        typer.echo("Stopped.")


@contextmanager
def running_or_started(url: str | None, api_key: str | None) -> Iterator[Service]:
    """The service at `url` (default: these settings' own address) if one answers, else one started for this block.

    Raises:
        ServiceAwayError: a URL was given and nothing answers there.
    """
    end_in_order()
    settings = settings_with()
    with client(url, api_key) as running:
        if running.is_ready():
            typer.echo(f"Using the service at {running.url}.")
            yield Service(running, _nothing, None, ours=False)
            return
        if url is not None:
            raise ServiceAwayError(f"No service is ready at {url}. Start one with `milp up`, or leave out --url.")
    with (
        EmbeddedService(settings, _say_starting) as started,
        ServiceClient(started.url, api_key or started.api_key) as own,
    ):
        store = None if settings.store_url else started.settings.data_dir / "store"
        try:
            yield Service(own, started.check, store, ours=True)
        finally:
            typer.echo("Stopping what was started.")


def own_key(settings: Settings, url: str | None) -> str | None:
    """The key of this machine's own service: of its settings, else of its data folder. Never sent to another's URL."""
    if url is not None and url.rstrip("/") != local_url(settings):
        return None
    return next(iter(settings.api_keys), None) or read_own_key(settings.data_dir)


def _say_starting(part: str) -> None:
    typer.echo(f"Starting: {part}")


def _nothing() -> None:
    pass
