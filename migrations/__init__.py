"""Alembic migrations of the service's database. `app.database.Database.upgrade` runs them."""
