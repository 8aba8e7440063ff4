"""Celery workers: jobs advance in short, idempotent steps; the database is the truth, a message only a doorbell."""

import os

# OpenMP's threads spin while they wait, which slows whatever else runs on the machine. Read once, when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
