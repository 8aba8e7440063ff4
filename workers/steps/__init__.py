"""The work of a job's three kinds of step: plan, evaluate, publish.

Each is a function of the context, the job and the step that changes no row: what it found comes back as an outcome,
which the runner records in the one transaction that ends the step. Must not know Celery, leases or attempts.
"""
