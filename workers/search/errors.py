"""Errors of the search that its callers tell apart. Loads nothing heavy: the worker names them before torch is there."""

from __future__ import annotations


class SurrogateUnavailableError(Exception):
    """The surrogate needs a package that is not installed."""
