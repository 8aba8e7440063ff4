"""Helpers of the tests: real servers of their own, and makers of small things."""
