"""Errors of the search that its callers tell apart. Loads nothing heavy: a worker can name them without torch."""

from __future__ import annotations


class SurrogateUnavailableError(Exception):
    """The surrogate needs a package that is not installed."""
