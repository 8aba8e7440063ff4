"""`milp webhooks`: have a URL told when jobs end, and see how that goes. A client of the REST API, as an admin."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from app.cli.options import Key, Url

app = typer.Typer(no_args_is_help=True, help="Have a URL told when jobs end, and see how that goes.")

WebhookId = Annotated[str, typer.Argument(help="The webhook's id, as in `milp webhooks list`.", metavar="WEBHOOK_ID")]


@app.command()
def add(
    target: Annotated[str, typer.Argument(help="Where to send: https://host/path.", metavar="TARGET")],
    event: Annotated[
        list[str] | None,
        typer.Option("--event", help="job.succeeded, job.failed or job.cancelled; may be repeated. Default: all."),
    ] = None,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Make a webhook and print the secret that signs what it is sent: it cannot be shown again."""
    from app.cli import serving

    with serving.client(url, api_key) as client:
        made = client.add_webhook({"url": target} | ({"events": event} if event else {}))
    # The secret alone on stdout, so that a script can take it.
    typer.echo(made["secret"])
    typer.echo(f"That is the secret of {made['id']}. Keep it: it cannot be shown again.", err=True)


@app.command(name="list")
def list_(url: Url = None, api_key: Key = None) -> None:
    """List webhooks, newest first, without their secrets."""
    from rich.table import Table

    from app.cli import serving
    from app.cli.tables import console_for_tables

    table = Table("Id", "URL", "Events", "State")
    with serving.client(url, api_key) as client:
        for webhook in client.webhooks():
            state = "enabled" if webhook["enabled"] else f"disabled ({webhook['disabled_because']})"
            table.add_row(webhook["id"], webhook["url"], ", ".join(webhook["events"]), state)
    if table.row_count:
        console_for_tables().print(table)
    else:
        typer.echo("No webhooks yet. Make one with: milp webhooks add TARGET")


@app.command()
def deliveries(
    webhook_id: WebhookId,
    state: Annotated[
        str | None, typer.Option("--state", help="Only those: waiting, sending, delivered or failed.")
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="The newest so many.")] = 50,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """List what a webhook was sent and is to be sent, newest first."""
    from rich.table import Table

    from app.cli import serving
    from app.cli.tables import console_for_tables

    table = Table("Id", "Event", "Job", "State", "Attempts", "Last answer")
    with serving.client(url, api_key) as client:
        for one in islice(client.deliveries(webhook_id, state), most):
            answer = one["last_status"] or one["last_error"] or "-"
            cells = (one["id"], one["event"], one["job_id"] or "-", one["state"], one["attempts"], answer)
            table.add_row(*map(str, cells))
    if table.row_count:
        console_for_tables().print(table)
    else:
        typer.echo("No deliveries.")


@app.command(name="test")
def send_test(webhook_id: WebhookId, url: Url = None, api_key: Key = None) -> None:
    """Send the event webhook.test; `milp webhooks deliveries` says how that went."""
    from app.cli import serving

    with serving.client(url, api_key) as client:
        typer.echo(f"{client.test_webhook(webhook_id)['id']} is on its way.")


@app.command()
def redeliver(
    webhook_id: WebhookId,
    delivery_id: Annotated[str, typer.Argument(help="As in `milp webhooks deliveries`.", metavar="DELIVERY_ID")],
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Send a delivery again, whatever became of it."""
    from app.cli import serving

    with serving.client(url, api_key) as client:
        typer.echo(f"{client.redeliver(webhook_id, delivery_id)['id']} is on its way.")


@app.command()
def remove(webhook_id: WebhookId, url: Url = None, api_key: Key = None) -> None:
    """Delete a webhook with its deliveries, sent or not."""
    from app.cli import serving

    with serving.client(url, api_key) as client:
        client.delete_webhook(webhook_id)
    typer.echo(f"{webhook_id} is deleted.")
