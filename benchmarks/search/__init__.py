"""Training candidates and whole searches, against PEFT one candidate at a time: `python -m benchmarks.search`."""
