"""Tests of the repositories, each on SQLite and on PostgreSQL."""
