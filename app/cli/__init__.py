"""The `milp` command: a client of the REST API, and the supervisor's switch. Nothing heavy is imported at the top."""
