"""`python -m evaluation.tables`: see `documents`."""

from __future__ import annotations

from evaluation.tables.documents import main

if __name__ == "__main__":
    main()
