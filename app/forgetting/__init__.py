"""Forgetting for good: what is deleted, where it may still be held in memory, and the receipt that says it is gone."""
