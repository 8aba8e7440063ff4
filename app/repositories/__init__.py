"""All SQL of the service: plain functions, session first, tenant always named. They never commit: callers do.

Locks are always taken in this order, so that two transactions never wait for each other: an idempotency key, a job,
its steps and trials, then the user, and last of all an API key's count of jobs. Whoever holds the user first may make
a job, and take an old one only if it is free.
"""
