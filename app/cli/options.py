"""Options that commands of several files share: which service is meant, and the key that lets in."""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[
    str | None, typer.Option("--url", envvar="MILP_URL", help="The service. Default: the one `milp up` starts here.")
]
Key = Annotated[
    str | None, typer.Option("--api-key", envvar="MILP_API_KEY", help="API key. Default: this machine's own.")
]
