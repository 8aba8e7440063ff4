"""Small programs that keep the repository in order; the Makefile names each. Not part of the installed service."""
