"""Measuring: what a grid says is to be measured, who is asked what, and the rows that come of it."""
