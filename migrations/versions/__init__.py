"""One file per change of the tables, in the order their `down_revision` says.

A new one is written by hand beside the change in `app/tables.py`; tests/app/test_migrations.py names what it lacks.
"""
