"""Run every test of this folder, write the figures they found, and end with them in one line.

    python -m tests.faults     # QUICK=1: fewer rounds; FAULTS_SEED=n: the random moments of an earlier run

With pytest's options it runs a part of them, and writes nothing. The exit status is that of the tests.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from benchmarks.bounds import at_most, in_one_line, write
from tests.faults.figures import Figures

LONGEST_MINUTES = {True: 8.0, False: 40.0}
"""By whether it is the quick run."""


def main() -> int:
    figures, began = Figures(), time.monotonic()
    options = ["-m", "faults", "-p", "no:randomly", "--timeout", "1500", *sys.argv[1:]]
    status = pytest.main([str(Path(__file__).parent), *options], plugins=[figures])
    if figures.rows:
        minutes = (time.monotonic() - began) / 60
        rows = [*figures.rows, at_most("all of this took", minutes, "minutes", LONGEST_MINUTES[figures.quick])]
        if not sys.argv[1:]:
            write("faults", "make test-faults", rows)
        print(in_one_line("faults", rows))
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
