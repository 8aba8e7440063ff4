"""Answering many users at once, against the base alone, PEFT and transformers: `python -m benchmarks.serve`."""
