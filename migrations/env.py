"""Runs the migrations on the connection that `app.database` hands over, inside that connection's transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection
from sqlmodel import SQLModel

import app.erasure_tables
import app.tables
import app.webhook_tables  # noqa: F401 - all fill SQLModel.metadata


def run(connection: Connection) -> None:
    # SQLite cannot alter a column: batch mode writes the table anew.
    context.configure(
        connection=connection, target_metadata=SQLModel.metadata, render_as_batch=connection.dialect.name == "sqlite"
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
