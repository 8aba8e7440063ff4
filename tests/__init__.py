"""Tests: the folders mirror those of the code; `support` holds what several of them use."""
