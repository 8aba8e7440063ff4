"""What the plain commands do: import, personalize, status, ask, chat, export, users, jobs. Clients of the REST API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table

from app.cli import histories, progress
from app.cli.client import Json, ServiceClient
from app.cli.conversions import Conversion, convert_file, write_new
from app.cli.errors import CliError, RefusedError
from app.cli.new_file import write_new_file
from app.cli.sending import send_file, send_history
from app.cli.tables import console_for_tables, outcome_tables
from app.settings import Settings

_SHOWN = 5
"""Refusals in one message."""


def import_file(client: ServiceClient, file: Path, names: Sequence[str], personalize: bool | None) -> None:
    """Send the histories of a file; say for each user what was added and whether a job began."""
    if histories.names_no_user(file):
        if len(names) != 1:
            raise CliError(f"{file} names no user. Say whose history it is with one --user ID.")
        wanted = "auto" if personalize is None else str(personalize).lower()
        _print(f"{names[0]}: {_added(send_file(client, names[0], histories.read_text(file), wanted))}")
        return
    for history in histories.choose(histories.read_histories(file), names, str(file)):
        answer = send_history(client, history, personalize="auto" if personalize is None else personalize)
        _print(f"{history.user_id}: {_added(answer)}")


def convert(file_format: str, file: Path, second: Path | None, names: Sequence[str], settings: Settings) -> Conversion:
    """Make a file in another format into histories; say what was found and what was left out."""
    conversion = convert_file(file_format, file, second, names, settings)
    for line in conversion.in_words():
        _print(line)
    return conversion


def write_converted(conversion: Conversion, out: Path) -> None:
    """Write what was converted to a new file."""
    write_new(conversion, out)
    _print(f"{out}: {len(conversion.users)} users, one a line. Send them with: milp import {out}")


def import_converted(client: ServiceClient, conversion: Conversion, personalize: bool | None) -> None:
    """Send what was converted, user after user; what the service refuses of one does not keep back the others."""
    refused = []
    for history in conversion.histories:
        try:
            answer = send_history(client, history, personalize="auto" if personalize is None else personalize)
        except RefusedError as error:
            if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                raise
            refused.append(f"{history.user_id}: {error}")
            continue
        _print(f"{history.user_id}: {_added(answer)}")
    if refused:
        raise CliError(f"{len(refused)} of {len(conversion.users)} users were refused. {' '.join(refused[:_SHOWN])}")


def personalize(client: ServiceClient, user_id: str, options: Json, *, wait: bool) -> None:
    """Start a job; unless told not to wait, show it to its end and what it found."""
    job = client.personalize(user_id, options)
    if not wait:
        _print(f"Job {job['id']} is queued. See it with: milp status {job['id']}")
        return
    console = console_for_tables()
    try:
        ended = progress.follow(client, {user_id: job["id"]}, console)
    except KeyboardInterrupt:
        _print(f"The job goes on. See it with: milp status {job['id']}")
        raise
    progress.raise_failed(ended)
    for part in outcome_tables(user_id, ended[user_id], console.width):
        console.print(part)


def status(client: ServiceClient, what: str | None) -> None:
    """A job (`job_...`), a user, or the service with its unfinished jobs."""
    if what is None:
        if not client.is_ready():
            next(client.users(), None)  # says so itself where nothing answers
            raise CliError(f"The service at {client.url} answers but is not ready. See {client.url}/readyz.")
        _print(f"The service at {client.url} is ready.")
        for job in client.jobs():
            if job["status"] not in ("succeeded", "failed", "cancelled"):
                _print(f"{job['id']}  {job['user_id']}: {progress.in_words(job)}")
    elif what.startswith("job_"):
        _show_job(client.job(what))
    else:
        _show_user(client, what)


def ask(client: ServiceClient, user_id: str, query: str, mode: str) -> None:
    """Print the answer as it comes, then how it was made; on stderr, why the active version could not make it."""
    console = Console()
    for kind, data in client.stream(user_id, query, mode=mode):
        if kind == "delta":
            console.out(data["text"], end="", highlight=False)
        elif kind == "done":
            console.out("")
            console.print(_made_by(data), style="dim", markup=False, highlight=False)
            if data["warning"]:
                said = f"milp: {data['warning']['detail']}"
                Console(stderr=True).print(said, markup=False, highlight=False, soft_wrap=True)


def chat(client: ServiceClient, user_id: str, mode: str, lines: TextIO) -> None:
    """Answer line after line until an empty one or the end. Each stands alone, as the history's pairs do."""
    client.user(user_id)
    interactive = lines.isatty()
    read: Callable[[], str] = (lambda: input("you> ")) if interactive else (lambda: next(lines, ""))
    while True:
        try:
            query = read().strip()
        except EOFError:
            return
        if not query:
            return
        ask(client, user_id, query, mode)


def export(client: ServiceClient, user_id: str, version_id: str | None, to: Path | None) -> None:
    """Write a version's zip; never over a file that is there."""
    version_id = version_id or current_version(client, user_id)
    target = to or Path(f"{user_id}-{version_id}.zip")
    write_new_file(target, client.export(user_id, version_id), "--to")
    _print(f"{target}: unzip it, then PeftModel.from_pretrained(base, folder) loads it.")


def current_version(client: ServiceClient, user_id: str) -> str:
    """The active version's id, else the newest's.

    Raises:
        CliError: there is none.
    """
    active = client.user(user_id)["active_version_id"]
    if active:
        return str(active)
    versions = client.versions(user_id)
    if not versions:
        raise CliError(f"{user_id} has no version yet. Make one with: milp personalize {user_id}")
    return str(versions[0]["id"])


def users(client: ServiceClient) -> None:
    """A table of all users."""
    table = Table("User", "Active version", "Since")
    for user in client.users():
        table.add_row(user["user_id"], user["active_version_id"] or "-", user["created_at"][:10])
    _print_table(table, "No users yet. Send a history with: milp import FILE")


def jobs(client: ServiceClient, user_id: str | None, status: str | None) -> None:
    """A table of jobs, newest first."""
    table = Table("Job", "User", "Status", "Trials", "Created")
    for job in client.jobs(user_id=user_id, status=status):
        trials = f"{job['trials_done']}/{job['trials_planned']}" if job["trials_planned"] else "-"
        created = job["created_at"][:16].replace("T", " ")
        table.add_row(job["id"], job["user_id"], job["status"], trials, created)
    _print_table(table, "No such jobs.")


def _show_job(job: Json) -> None:
    _print(f"{job['id']} of {job['user_id']}: {progress.in_words(job)}")
    if job.get("error"):
        _print(f"Why: {job['error']['detail']}")
    if job.get("report"):
        console = console_for_tables()
        for part in outcome_tables(job["user_id"], job, console.width):
            console.print(part)


def _show_user(client: ServiceClient, user_id: str) -> None:
    user = client.user(user_id)
    _print(f"{user_id}: active version {user['active_version_id'] or 'none'}, {user['samples']} samples")
    for job in client.jobs(user_id=user_id):
        _print(f"{job['id']}: {progress.in_words(job)}")


def _added(answer: Json) -> str:
    counts = f"{answer['added']} samples added, {answer['duplicates']} known before, {answer['total']} in all"
    if answer.get("job"):
        return f"{counts}; job {answer['job']['id']} (milp status {answer['job']['id']})"
    skipped = answer.get("job_skipped")
    return f"{counts}; no job: {skipped['detail']}" if skipped else counts


def _made_by(answer: Json) -> str:
    version = f", version {answer['version_id']}" if answer.get("version_id") else ""
    pairs = f", {len(answer['memory'])} past pairs in the prompt" if answer.get("memory") else ""
    return f"({answer['mode']}{version}{pairs})"


def _print(line: str) -> None:
    Console().print(line, markup=False, highlight=False, soft_wrap=True)


def _print_table(table: Table, otherwise: str) -> None:
    if table.row_count:
        console_for_tables().print(table)
    else:
        _print(otherwise)
