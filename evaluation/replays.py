"""What commands that go through measured searches once more share: which searches, a trial as its search saw it, and
how a command is called."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.configuration import Configuration
from evaluation.results_files import latest, read_searches
from evaluation.rows import SearchRecord, read
from workers.search.observations import Observation


def searches_of(folder: Path | None) -> list[SearchRecord]:
    """Those of a run's folder, each once; without one the committed searches."""
    return latest(read(folder, SearchRecord)) if folder else read_searches()


def parser(description: str | None) -> argparse.ArgumentParser:
    """Of a command that is told a run's folder, or none."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("folder", type=Path, nargs="?", help="a run's")
    return made


def observation(trial: Mapping[str, Any]) -> Observation:
    """A trial of a search's record that succeeded, as the search saw it."""
    configuration = Configuration.from_bits(trial["layers"], trial["n"], trial["r"])
    scores = {name: trial[name] for name in ("loss", "loss_se", "rouge_l", "rouge_l_se")}
    return Observation(configuration, **scores, parameters=trial["parameters"] or 0)
