"""Tests of the example histories."""
