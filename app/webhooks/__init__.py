"""Webhooks: how others are told, over HTTP and signed, that a job has ended."""
