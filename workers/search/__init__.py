"""The search for a user's configuration: pure functions, data in and proposal out.

Knows configurations and scores; knows no Celery, no database, no model. Importing this package loads nothing heavy.
"""
