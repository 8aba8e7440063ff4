"""What is evaluated: sets x bases x users x methods x seeds, and the variants of a method, as one TOML file says it.

Must not know how a method works.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from app.job_options import JobOptions
from evaluation.measure.people import ASKS, Side
from evaluation.names import MEMORIES, SPACES
from evaluation.rows import OfCell

Method = Literal[
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
]
METHODS: tuple[Method, ...] = get_args(Method)
"""In the order they are run: what another needs comes before it."""


_NO_OPTIONS: dict[str, str] = {
    "seed": "every seed of `seeds` is run",
    "trials": "`trials` of the grid says how many",
    "subspace": "`ablation = true` searches each",
    "with_memory": "the method milp_memory is MiLP with the memory prompt",
    "activate": "what the gate decides is measured",
}
"""Options of a job that are none of a grid's, as they would make a method another one, and why."""


class GridError(Exception):
    """A grid's file cannot be used; the message says what to change."""


class SetOf(BaseModel):
    """A set: users of one or several files in the native format."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    paths: list[Path] = Field(min_length=1)
    first: int | None = Field(None, ge=1)
    wrote: Side | dict[str, Side] = ASKS
    """The side of a pair that is its person's own words, of which MaLP's facts are: of all, or by user."""
    exclude: list[str] = []
    """Users who are left out, such as those that settings were chosen on."""


class Sensitivity(BaseModel):
    """Values that MiLP is run with in place of the standard ones, one at a time; the memories too, where it is how much
    they remember."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    history: list[Annotated[float, Field(gt=0, le=1)]] = []
    trials: list[Annotated[int, Field(ge=2, le=1000)]] = []
    learning_rate: list[Annotated[float, Field(gt=0, le=1)]] = []
    epochs: list[Annotated[int, Field(ge=1, le=100)]] = []


class Grid(BaseModel):
    """A run's whole configuration.

    Args:
        bases: local folders or Hugging Face names.
        trials: of each search, the base's included.
        options: of every job, such as learning_rate and epochs; see `app.job_options`. None that would make a method
            another one.
        ablation: whether the six subspaces are searched too.
        keep_texts: whether answers are written down, for a judge.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sets: list[SetOf] = Field(min_length=1)
    bases: list[str] = Field(min_length=1)
    methods: list[Method] = list(METHODS)
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)
    trials: int = Field(24, ge=2, le=1000)
    options: dict[str, Any] = {}
    ablation: bool = False
    sensitivity: Sensitivity = Sensitivity()
    keep_texts: bool = False

    @field_validator("options")
    @classmethod
    def _options_are_a_jobs(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name, why in _NO_OPTIONS.items():
            if name in options and options[name] != JobOptions.model_fields[name].default:
                raise ValueError(f"{name} is none of a grid's options: {why}")
        if options.get("surrogate") == "random":
            raise ValueError("a grid's surrogate is none of random: the method random searches so")
        try:
            JobOptions(**options)
        except ValidationError as error:
            raise ValueError(_first(error)) from None
        return options

    @field_validator("methods", "seeds")
    @classmethod
    def _each_once(cls, values: list[Any]) -> list[Any]:
        return list(dict.fromkeys(values))

    @model_validator(mode="after")
    def _names_are_unlike(self) -> Self:
        for what, names in (("sets", [of.name for of in self.sets]), ("bases", list(self.named_bases))):
            if len(set(names)) < len(getattr(self, what)):
                raise ValueError(f"two {what} have the same name; rows could not tell them apart")
        return self

    @property
    def named_bases(self) -> dict[str, str]:
        """Every base by the name that rows give it: a folder's own, without where it lies."""
        return {Path(base).absolute().name if Path(base).is_dir() else base: base for base in self.bases}

    def variants(self) -> list[str]:
        """Names of all variants; the standard one, the first, is empty."""
        named = [(name, value) for name, values in self.sensitivity for value in values]
        spaces = [f"space={subspace}" for subspace in SPACES if self.ablation]
        return list(dict.fromkeys(["", *spaces, *(f"{name}={value:g}" for name, value in named)]))

    def cells(self, users: Mapping[str, Sequence[str]]) -> Iterator[Cell]:
        """Everything to measure, in an order that says something early: seed by seed, the sets in turn, user by user.

        Of a set of one user the methods that need others have nothing to measure.

        Args:
            users: of each set, by its name.
        """
        several = {name: some if len(some) > 1 else () for name, some in users.items()}
        for seed in self.seeds:
            for variant in self.variants():
                methods = [m for m in METHODS if m in self.methods and _varies(m, variant)]
                own = [m for m in methods if m not in FROM_OTHERS]
                others = [m for m in methods if m in FROM_OTHERS]
                yield from self._round(users, own, seed, variant)
                yield from self._round(several, others, seed, variant)

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


def _varies(method: Method, variant: str) -> bool:
    """Whether a variant is something else for this method than the standard grid."""
    return not variant or method == "milp" or (method in MEMORIES and variant.startswith("history="))


@dataclass(frozen=True)
class Cell(OfCell):
    """One measurement to be made. `base` is its name in rows."""

    method: Method


def read_grid(path: Path) -> Grid:
    """A grid from its TOML file, or from the grid.json of a run; paths in it are relative to the file's folder.

    Raises:
        GridError: it is not there, no TOML or JSON, or says something no grid has.
    """
    of_run = path.suffix == ".json"
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text) if of_run else tomllib.loads(text)
    except OSError as error:
        raise GridError(f"{path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise GridError(f"{path} is no {'JSON' if of_run else 'TOML'}: {error}.") from error
    if of_run and isinstance(raw, dict):
        # What came out of the grid stands there too.
        raw = {name: value for name, value in raw.items() if name in Grid.model_fields}
    grid, here = checked_grid(raw, f"{path}: "), path.parent
    sets = [of.model_copy(update={"paths": [here / p for p in of.paths]}) for of in grid.sets]
    bases = [str(here / base) if (here / base).is_dir() else base for base in grid.bases]
    return checked_grid({**grid.model_dump(), "sets": sets, "bases": bases}, f"{path}: ")


def checked_grid(values: Mapping[str, Any], where: str = "") -> Grid:
    """A grid of these values.

    Args:
        where: what an error's message begins with.

    Raises:
        GridError: a value is none that a grid has.
    """
    try:
        return Grid.model_validate(values)
    except ValidationError as error:
        raise GridError(f"{where}{_first(error)}.") from error


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}".removeprefix(": ").replace("Value error, ", "", 1)
