"""The Bayesian search over configurations, as pure functions: observations in, proposals out.

Must not know Celery, the database or the base model.
"""
