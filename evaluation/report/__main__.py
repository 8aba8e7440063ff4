"""`python -m evaluation.report FOLDER`: see `writing`."""

from __future__ import annotations

from evaluation.report.writing import main

if __name__ == "__main__":
    main()
