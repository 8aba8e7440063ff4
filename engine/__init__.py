"""The base model at work: load it, put many stacks on it at once, train many, answer many.

Knows tensors and text. Must not know HTTP, the database, Celery or where stacks are kept.
Importing this package loads nothing heavy; torch comes with the modules that need it.
"""
