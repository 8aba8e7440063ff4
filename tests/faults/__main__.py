"""Run every test of this folder, write the figures they found, and end with them in one line.

    python -m tests.faults     # QUICK=1: fewer rounds; FAULTS_SEED=n: the random moments of an earlier run

The exit status is that of the tests.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.bounds import in_one_line, write
from tests.faults.figures import Figures


def main() -> int:
    figures = Figures()
    options = ["-m", "faults", "-p", "no:randomly", "--timeout", "1500", *sys.argv[1:]]
    status = pytest.main([str(Path(__file__).parent), *options], plugins=[figures])
    if figures.rows:
        write("faults", "make test-faults", figures.rows)
        print(in_one_line("faults", figures.rows))
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
