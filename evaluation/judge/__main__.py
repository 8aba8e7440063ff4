"""`python -m evaluation.judge FOLDER`: see `asking`."""

from __future__ import annotations

from evaluation.judge.asking import main

if __name__ == "__main__":
    main()
