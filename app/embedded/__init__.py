"""Everything of the service on one machine: a private Redis, the worker and the API as children of one command.

Must not know the command line, nor what the service does: it starts, watches and stops processes.
"""
