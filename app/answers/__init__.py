"""Answering a query: which mode, which memory, which version, and the engine that decodes. Knows no HTTP."""
