"""What is evaluated: sets x bases x users x methods x seeds, and the variants of a method, as one TOML file says it.

Must not know how a method works.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evaluation.rows import OfCell

Method = Literal[
    "base",
    "dictionary_memory",
    "malp",
    "default_lora",
    "default_averaged",
    "random",
    "milp",
    "milp_memory",
    "other_user",
    "domain_lora",
]
METHODS: tuple[Method, ...] = (
    "base",
    "dictionary_memory",
    "malp",
    "default_lora",
    "default_averaged",
    "milp",
    "random",
    "milp_memory",
    "other_user",
    "domain_lora",
)
"""In the order they are run: what another needs comes before it."""
SUBSPACES = ("num", "size", "layer", "num+size", "num+layer", "size+layer")
"""The ablation's (MiLP, Table 5); the whole space is the standard grid's."""


class GridError(Exception):
    """A grid's file cannot be used; the message says what to change."""


class SetOf(BaseModel):
    """A set: users of one or several files in the native format."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    paths: list[Path] = Field(min_length=1)
    first: int | None = Field(None, ge=1)
    exclude: list[str] = []
    """Users who are left out, such as those that settings were chosen on."""


class Sensitivity(BaseModel):
    """Values that MiLP is run with in place of the standard ones, one at a time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    history: list[float] = []
    trials: list[int] = []
    learning_rate: list[float] = []
    epochs: list[int] = []


class Grid(BaseModel):
    """A run's whole configuration.

    Args:
        bases: local folders or Hugging Face names.
        trials: of each search, the base's included.
        options: of every job, such as learning_rate and epochs; see `app.job_options`.
        ablation: whether the six subspaces are searched too.
        keep_texts: whether answers are written down, for a judge.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sets: list[SetOf] = Field(min_length=1)
    bases: list[str] = Field(min_length=1)
    methods: list[Method] = list(METHODS)
    seeds: list[int] = Field([0], min_length=1)
    trials: int = Field(24, ge=2, le=1000)
    options: dict[str, Any] = {}
    ablation: bool = False
    sensitivity: Sensitivity = Sensitivity()
    keep_texts: bool = False

    @property
    def named_bases(self) -> dict[str, str]:
        """Every base by the name that rows give it: a folder's own, without where it lies."""
        return {Path(base).name if Path(base).is_dir() else base: base for base in self.bases}

    def variants(self) -> list[str]:
        """Names of all variants of MiLP; the standard one, the first, is empty."""
        named = [(name, value) for name, values in self.sensitivity for value in values]
        return [
            "",
            *(f"space={subspace}" for subspace in SUBSPACES if self.ablation),
            *(f"{name}={value:g}" for name, value in named),
        ]

    def cells(self, users: Mapping[str, Sequence[str]]) -> Iterator[Cell]:
        """Everything to measure, in an order that says something early: seed by seed, the sets in turn, user by user.

        Args:
            users: of each set, by its name.
        """
        for seed in self.seeds:
            for variant in self.variants():
                methods = self.methods if not variant else [m for m in self.methods if m == "milp"]
                own = [m for m in METHODS if m in methods and m not in FROM_OTHERS]
                others = [m for m in METHODS if m in methods and m in FROM_OTHERS]
                for of_round in (own, others):
                    yield from self._round(users, of_round, seed, variant)

    def _round(
        self, users: Mapping[str, Sequence[str]], methods: Sequence[Method], seed: int, variant: str
    ) -> Iterator[Cell]:
        for place in range(max(map(len, users.values()), default=0)):
            for base in self.named_bases:
                for of in self.sets:
                    if place < len(users[of.name]):
                        user = users[of.name][place]
                        yield from (Cell(of.name, base, user, method, seed, variant) for method in methods)


FROM_OTHERS: frozenset[Method] = frozenset({"other_user", "domain_lora"})
"""Controls that need the other users' searches or histories: run when all of a set's are there."""


@dataclass(frozen=True)
class Cell(OfCell):
    """One measurement to be made. `base` is its name in rows."""

    method: Method


def read_grid(path: Path) -> Grid:
    """A grid from its TOML file; paths in it are relative to the file's folder.

    Raises:
        GridError: it is not there, no TOML, or says something no grid has.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        grid = Grid.model_validate(raw)
    except OSError as error:
        raise GridError(f"{path} cannot be read ({error.strerror}).") from error
    except tomllib.TOMLDecodeError as error:
        raise GridError(f"{path} is no TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise GridError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
    here = path.parent
    sets = [of.model_copy(update={"paths": [here / p for p in of.paths]}) for of in grid.sets]
    bases = [str(here / base) if (here / base).is_dir() else base for base in grid.bases]
    grid = grid.model_copy(update={"sets": sets, "bases": bases})
    for what, names in (("sets", [of.name for of in sets]), ("bases", list(grid.named_bases))):
        if len(set(names)) < len(getattr(grid, what)):
            raise GridError(f"{path}: two {what} have the same name; rows could not tell them apart.")
    return grid
