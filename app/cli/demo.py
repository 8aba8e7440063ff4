"""`milp demo`: imports users as any client would, follows their jobs, and reports what personalising them bought.

Talks to the service by REST only; a service started for it is the caller's to stop.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli import histories, progress
from app.cli.client import Json, ServiceClient
from app.cli.errors import CliError, RefusedError
from app.cli.examples import Answered, answer_examples
from app.cli.histories import History
from app.cli.published import Published, find_published
from app.cli.sending import send_history
from app.cli.serving import Service
from app.cli.tables import console_for_tables, outcome_tables
from app.job_states import FINAL

_EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_DEFAULT_USERS = ("diabetes-patient", "linux-helper")


def chosen_histories(data: Path | None, names: Sequence[str]) -> list[History]:
    """The histories to run on: of a file, else of `examples/`; all of the file's, or the named ones.

    Raises:
        CliError: no such file or user, or a file of many users and no name.
    """
    if data is not None:
        chosen = histories.choose(histories.read_histories(data), names, str(data))
        if not names and len(chosen) > len(_DEFAULT_USERS):
            known = histories.listed([history.name for history in chosen])
            raise CliError(f"{data} holds {len(chosen)} users. Choose with --user ID: {known}.")
        return chosen
    files = sorted(_EXAMPLES.glob("*.jsonl"))
    if not files:
        raise CliError("This installation has no examples/ folder. Give a file of histories with --data FILE.")
    ours = [history for file in files for history in histories.read_histories(file)]
    return histories.choose(ours, names or _DEFAULT_USERS, "examples/")


def run(service: Service, chosen: Sequence[History], *, options: Json, out: Path) -> None:
    """The whole demo. Jobs it started are cancelled if it does not come to its end.

    Raises:
        CliError: a job did not succeed; those that did have been reported by then.
    """
    console = console_for_tables()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CliError(f"The folder {out} cannot be made ({error.strerror}). Choose another with --out.") from error
    client = service.client
    if service.ours:
        _cancel_leftovers(client, chosen)
    jobs: dict[str, str] = {}
    with _cancelled_unless_done(client, jobs):
        _start(client, chosen, options, jobs, console)
        ended = progress.follow(client, jobs, console, service.check)
    done = [history for history in chosen if progress.succeeded(ended[history.user_id])]
    for history in done:
        service.check()
        _report(service, history, ended[history.user_id], out, console)
    if done:
        console.print()
        again = "start the service again with `milp up`, then: " if service.ours else ""
        _line(console, f"To talk to them, {again}milp chat {done[0].user_id}")
    progress.raise_failed(ended)


def _start(
    client: ServiceClient, chosen: Sequence[History], options: Json, jobs: dict[str, str], console: Console
) -> None:
    """Import all users, then have their jobs started: a history that is refused is so before anything runs.

    Args:
        jobs: takes the jobs' ids by user, each as it starts.

    Raises:
        CliError: a history was refused; it says whose.
    """
    totals: dict[str, int] = {}
    for history in chosen:
        with _named(history):
            answer = send_history(client, history, personalize=False)
        totals[history.user_id] = answer["total"]
        known = f", {answer['duplicates']} were known" if answer["duplicates"] else ""
        console.print(f"{history.user_id}: {answer['added']} samples imported{known}", highlight=False)
    # The shortest first: if that one is long enough for a job, so are the others.
    for history in sorted(chosen, key=lambda history: totals[history.user_id]):
        with _named(history):
            jobs[history.user_id] = str(client.personalize(history.user_id, options)["id"])


@contextlib.contextmanager
def _named(history: History) -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        raise CliError(f"The history of {history.user_id} was refused: {error} No job was started.") from error


def _report(service: Service, history: History, job: Json, out: Path, console: Console) -> None:
    """Table, answers, picture, page, and where the version lies, for one user."""
    from app.cli.figure import draw_search
    from app.cli.page import write_page
    from app.cli.search import Search

    client = service.client
    search = Search.of(job, client.trials(job["id"]))
    console.print()
    for part in outcome_tables(history.user_id, job, console.width):
        console.print(part)
    published = find_published(client, history.user_id, job, store=service.store, out=out)
    examples = answer_examples(client, history.user_id, job)
    console.print(_side_by_side(examples))
    picture = draw_search(search, history.user_id)
    picture_file, page_file = out / f"{_file_name(history)}.png", out / f"{_file_name(history)}.html"
    picture_file.write_bytes(picture)
    write_page(
        page_file, history=history, job=job, search=search, examples=examples, published=published, picture=picture
    )
    for name, value in (("Search", picture_file), ("Report", page_file)):
        _line(console, f"{name}: {value}")
    _print_published(published, console)


def _print_published(published: Published | None, console: Console) -> None:
    if published is None:
        _line(console, "Nothing was published: for this user the base itself won.")
        return
    _line(console, f"Published version: {published.folder}")
    _line(console, "It loads in plain PEFT with:")
    _line(console, f"  {published.command}")


def _line(console: Console, text: str) -> None:
    """Print as it is, so that paths and commands can be copied: never wrapped, never coloured."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _side_by_side(examples: Sequence[Answered]) -> Table:
    table = Table(title="Queries of the test part", title_justify="left", show_lines=True)
    for name in ("Query", "Base", "Personalised", "What was really answered"):
        table.add_column(name, ratio=1, overflow="fold")
    for example in examples:
        table.add_row(*map(Text, (example.query, example.base, example.personalized, example.reference)))
    return table


def _file_name(history: History) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", history.user_id)


def _cancel_leftovers(client: ServiceClient, chosen: Sequence[History]) -> None:
    """Jobs of these users that an earlier demo left behind when it was killed."""
    for history in chosen:
        for job in client.jobs(user_id=history.user_id):
            if job["status"] not in FINAL:
                client.cancel(job["id"])


@contextlib.contextmanager
def _cancelled_unless_done(client: ServiceClient, jobs: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for job_id in jobs.values():
            with contextlib.suppress(CliError, RefusedError):  # ended already, or the service is gone
                client.cancel(job_id)
        raise
