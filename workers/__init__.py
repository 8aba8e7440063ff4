"""Celery workers: jobs advance in short, idempotent steps; the database is the truth, a message only a doorbell."""
