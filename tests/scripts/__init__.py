"""The small programs that keep the repository in order."""
