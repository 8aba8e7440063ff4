"""What a run's folder says it measures: its grid, and everything else that a row depends on.

Must not know how anything is measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from app.settings import Settings
from engine.base import hardware
from engine.base_folder import base_folder, folder_digest
from evaluation.measure.grid import Cell, Grid
from evaluation.measure.methods import options_of
from evaluation.measure.people import DIGITS, Person

GRID_FILE = "grid.json"
WHICH_CELLS = frozenset({"methods", "seeds", "ablation", "sensitivity"})
"""Parts of a grid that say which cells are measured, not how: a run may go on with more of them."""
WHERE = frozenset({"sets", "bases"})
"""Parts that say where histories and weights lie; what is in them is compared itself."""
COMPARED = ("job_options", "histories", "weights")
"""What came of the environment, of histories and of bases, and has to be the same for a run to be made again."""
_DIGEST = 64
"""Hexadecimal digits of a SHA-256."""
COMPUTED = "computed"
"""What moves last digits only."""


class RunError(Exception):
    """A run cannot be begun or gone on with; the message says what to do."""


def measured_with(grid: Grid, people: Mapping[str, Sequence[Person]]) -> dict[str, Any]:
    """A grid, and everything else that a row depends on: job options, histories, weights, machine.

    Args:
        people: of each set, by its name.

    Raises:
        BaseModelError: a base is not there.
    """
    told: dict[str, Any] = json.loads(grid.model_dump_json())
    # Wherever the command is given next time.
    for of in told["sets"]:
        of["paths"] = [str(Path(path).resolve()) for path in of["paths"]]
    told["bases"] = [str(Path(base).absolute()) if Path(base).is_dir() else base for base in told["bases"]]
    # What a job takes from the environment is as much a part of a run as what its grid says.
    settings = Settings(_env_file=None)
    options = options_of(grid, Cell("", "", "", "milp", 0)).resolve(settings)
    told["job_options"] = options.model_dump(mode="json")
    told[COMPUTED] = _computed(settings)
    told["histories"] = {name: _digest(some) for name, some in people.items()}
    told["weights"] = {name: folder_digest(base_folder(base)) for name, base in grid.named_bases.items()}
    return told


def claim(folder: Path, told: dict[str, Any]) -> None:
    """Write into a folder what its run measures. One that is there must measure as this one does, or rows would not
    belong together.

    Args:
        told: what it measures (`measured_with`).

    Raises:
        RunError: it does not; the message says in what they differ.
    """
    path = folder / GRID_FILE
    if path.exists():
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names = sorted((known.keys() | told.keys()) - WHICH_CELLS - WHERE)
        if unlike := [name for name in names if known.get(name) != told.get(name)]:
            raise RunError(
                f"{folder} holds a run that measures otherwise (other {', '.join(unlike)}). Go on with that one "
                "(methods, seeds, ablation and sensitivity may be added to it), or name another folder with --out "
                "(`make evaluate OUT=folder`)."
            )
        told = told | {name: _both(known.get(name), told[name]) for name in WHICH_CELLS}
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def check_again(record: Path, told: Mapping[str, Any]) -> list[str]:
    """Whether what is measured now would be what a run's grid.json says it measured.

    Args:
        record: that file; one that leaves a part out leaves it open.
        told: what is measured now, as it would be written there.

    Returns:
        What last digits may hang on and is otherwise, in words.

    Raises:
        RunError: naming what else differs, as it was and as it is.
    """
    known: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    if unlike := [said for name in COMPARED for said in _unlike(name, known.get(name, {}), told[name])]:
        raise RunError(
            f"{record} was measured otherwise: {'; '.join(unlike)}. Set the environment (MILP_..), the histories and "
            f"the bases as they were; or take {', '.join(COMPARED)} out of a copy of the file, and it is another run."
        )
    return _unlike(COMPUTED, known.get(COMPUTED, {}), told[COMPUTED])


def _unlike(part: str, known: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{part}.{name} {_short(was)}, here {_short(now.get(name))}"
        for name, was in known.items()
        if was != now.get(name)
    ]


def _short(value: Any) -> str:
    """A value as it is told: of a digest as much as rows have of it, anything else whole."""
    told = "nothing" if value is None else str(value)
    return told[:DIGITS] if len(told) == _DIGEST else told


def _both(known: Any, further: Any) -> Any:
    """Which cells were measured and are to be: a folder's grid makes all of its rows again."""
    if isinstance(further, dict):
        return {name: _both((known or {}).get(name), value) for name, value in further.items()}
    if isinstance(further, list):
        return list(dict.fromkeys([*(known or []), *further]))
    return known or further


def _computed(settings: Settings) -> dict[str, str | int]:
    """What moves a number's last digits, and with them what a greedy answer says: as it comes out on this machine."""
    device, dtype = hardware(settings.device, settings.dtype)
    threads = settings.torch_threads or torch.get_num_threads()
    return {"device": device.type, "dtype": str(dtype).removeprefix("torch."), "threads": threads}


def _digest(people: Sequence[Person]) -> str:
    """SHA-256 (hex) over the users' histories and profiles, and what of them they wrote, in their order."""
    digest = hashlib.sha256()
    for person in people:
        digest.update(repr((person.user, person.profile, person.split)).encode())
        # Folders of before there was a choice have the digest of those who asked, and are gone on with.
        if person.wrote != "queries":
            digest.update(person.wrote.encode())
    return digest.hexdigest()
