"""Tests of the web service, its database and the `milp` command."""
