"""The paper's tables, reproducible: which method serves a person best, measured on real histories.

Runs the service's own engine, search and steps; has no second implementation of any of them.
"""
