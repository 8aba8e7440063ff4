"""One user's report as a self-contained HTML page: no script, no link to elsewhere, the picture inside.

Knows the data it shows; asks the service nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from app.cli.examples import Answered
from app.cli.histories import History
from app.cli.outcome import METRICS, Outcome
from app.cli.progress import clock
from app.cli.published import Published
from app.cli.search import ORIGINS, Search


def write_page(
    target: Path,
    *,
    history: History,
    job: dict[str, Any],
    search: Search,
    examples: Sequence[Answered],
    published: Published | None,
    picture: bytes,
) -> None:
    """Write the page of one finished job to `target`."""
    environment = Environment(
        loader=PackageLoader("app.cli"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clock"] = clock
    text = environment.get_template("report.html.j2").render(
        history=history,
        job=job,
        job_seconds=_seconds(job),
        outcome=Outcome.of(job),
        metrics=METRICS,
        search=search,
        origins=ORIGINS,
        examples=examples,
        published=published,
        picture=base64.b64encode(picture).decode("ascii"),
    )
    target.write_text(text, encoding="utf-8")


def _seconds(job: dict[str, Any]) -> float:
    began, ended = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    return (ended - began).total_seconds()
