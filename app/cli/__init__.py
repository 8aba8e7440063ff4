"""The `milp` command: a client of the REST API, and the supervisor's switch. Must not import anything heavy at the top."""
