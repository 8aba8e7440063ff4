"""Faults at random moments, and what must hold after each. `make test-faults` runs them and keeps their figures."""
