"""What is kept: the stack's file format, publish, verify, load and erase, in a local folder or any fsspec URL.

Knows the engine's stack type; must not know HTTP, the database or Celery.
"""
