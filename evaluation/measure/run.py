"""A run: every cell of a grid measured once, written down as soon as it is, and gone on with after an interruption.

Must not know how a method works, or what is made of the rows.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from app.errors import ServiceError
from engine.evaluation import Evaluation
from evaluation.judge.answers import Answers, keep_answers
from evaluation.measure.claim import check_again, claim, measured_with
from evaluation.measure.grid import FROM_OTHERS, Cell, Grid
from evaluation.measure.methods import Answering, Methods, UnmeasurableError, how_made
from evaluation.measure.people import DIGITS, Person, read_people
from evaluation.measure.scores import answer_test, prompt_tokens, summarised
from evaluation.measure.searches import Searches, SearchFailedError
from evaluation.names import BASELINES, CONTROLS
from evaluation.rows import Row, SearchRecord, append, read

_ROOT = Path(__file__).resolve().parents[2]


class Listener(Protocol):
    """Who is told how a run goes."""

    def begins(self, cell: Cell) -> None: ...

    def trials(self, done: int) -> None: ...

    def ends(self, cell: Cell, said: str) -> None: ...


@dataclass(frozen=True)
class Measured:
    """What became of one cell."""

    row: Row
    search: SearchRecord | None
    evaluation: Evaluation


class Run:
    """One grid in one folder. Use it in a `with` block: bases and proposers are held open.

    Args:
        tell: is told who and what is left out, and what the folder has of other code.
        again: the grid.json of a run that is to be made again.

    Raises:
        RunError: the folder holds a run that measures otherwise, or the run to be made again was another.
        InvalidEncodingError: a text is none that can be kept.
        BaseModelError: a base is not there.
        CliError, ValueError: a set cannot be read.
    """

    def __init__(
        self, grid: Grid, folder: Path, tell: Callable[[str], None] = lambda _: None, again: Path | None = None
    ) -> None:
        self._grid, self._folder = grid, folder
        self._people = {
            of.name: read_people(of.name, of.paths, of.first, of.exclude, tell, of.wrote) for of in grid.sets
        }
        self._open = ExitStack()
        self._searches: dict[str, Searches] = {}
        told = measured_with(grid, self._people)
        for unlike in check_again(again, told) if again else ():
            tell(f"answers may differ from those of {again} in a word here and there: {unlike}")
        claim(folder, told)
        self._weights = {name: digest[:DIGITS] for name, digest in told["weights"].items()}
        for name, people in self._people.items():
            if len(people) == 1 and (left_out := [method for method in grid.methods if method in FROM_OTHERS]):
                tell(f"the set {name!r} has one user, so it is measured without {' and '.join(left_out)}")
        if self._commit and (others := {row.commit for row in read(folder, Row)} - {self._commit}):
            tell(
                f"{folder} holds rows of other code ({', '.join(sorted(others))}; this is {self._commit}), which are "
                "kept: name another folder to measure them anew"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def adopt(self, rows: Iterable[Row], searches: Iterable[SearchRecord] = ()) -> list[Row]:
        """Take over rows that were measured before, such as the committed ones, and what their searches tried; the
        rows that were taken.

        None is taken of another history or split, of other weights, none that was trained or asked with other job
        options, none of a control, which depends on who else is in the set, and none of the memory prompt beside a
        stack that this run chose otherwise: they would not belong with what is measured now. Of what code they are,
        their commit says. Stacks of other users that controls need are trained again.
        """
        missing = {cell.key: cell for cell in self.todo()}
        taken = [row for row in rows if row.key in missing and self._belongs(row, missing[row.key])]
        chose = {row.key: row for row in [*taken, *read(self._folder, Row)] if row.method == "milp"}
        taken = [row for row in taken if row.method != "milp_memory" or _same_choice(row, chose)]
        tried: dict[tuple[tuple[str, ...], int | None], SearchRecord] = {(of.key, of.winner): of for of in searches}
        for row in taken:
            if (search := tried.get((row.key, row.trial))) is not None:
                append(self._folder, search)
            append(self._folder, row)
        return taken

    def _belongs(self, row: Row, cell: Cell) -> bool:
        return cell.method not in CONTROLS and all(
            getattr(row, name) == value for name, value in self._made(cell).items()
        )

    def _made(self, cell: Cell) -> dict[str, str]:
        """What a row of this cell depends on, but for the code."""
        person = next(person for person in self._people[cell.set] if person.user == cell.user).as_in(cell.variant)
        options = how_made(self._grid, cell)
        return {"options": options, "history": person.digest, "weights": self._weights[cell.base]}

    def todo(self) -> list[Cell]:
        """The cells that are not measured yet, in the order they will be."""
        users = {name: [person.user for person in people] for name, people in self._people.items()}
        done = {row.key for row in read(self._folder, Row)}
        return [cell for cell in self._grid.cells(users) if cell.key not in done]

    def methods(self, cell: Cell) -> Methods:
        """All methods for the people of the cell's set on its base, which is loaded where it is not."""
        if cell.base not in self._searches:
            name = hashlib.sha256(cell.base.encode()).hexdigest()[:16]
            opened = self._open.enter_context(
                Searches(self._folder / "searches" / name, self._grid.named_bases[cell.base])
            )
            self._searches[cell.base] = opened
        return Methods(self._grid, self._searches[cell.base], self._people[cell.set], self._row)

    def measure(self, listener: Listener) -> list[str]:
        """Measure what is left. Each row is on disk before the next cell begins.

        Returns:
            What could not be measured, and why.
        """
        problems = []
        for cell in self.todo():
            listener.begins(cell)
            try:
                said = self._one(cell, listener)
            except (UnmeasurableError, SearchFailedError) as error:
                problems.append(said := str(error))
            except ServiceError as error:
                # Of one user's history, such as more samples than a history may have: the others are measured.
                problems.append(said := f"{cell.user} of {cell.set}, {cell.method}: {error}")
            listener.ends(cell, said)
        return problems

    def _one(self, cell: Cell, listener: Listener) -> str:
        row = self._of_an_earlier_seed(cell)
        if row is None:
            methods = self.methods(cell)
            methods.on_trials = listener.trials
            measured = _measured(cell, methods, {"commit": self._commit, **self._made(cell)})
            row = measured.row
            # The search first: a row says that all of its cell is done.
            if measured.search is not None:
                append(self._folder, measured.search)
            if self._grid.keep_texts:
                keep_answers(self._folder, _answers(cell, methods.person(cell), measured.evaluation))
        append(self._folder, row)
        return f"ROUGE-L {row.rouge_l:.1f}, Persona F1 {row.persona_f1:.2f}"

    def _of_an_earlier_seed(self, cell: Cell) -> Row | None:
        if cell.method not in BASELINES:
            return None
        alike = (row for row in read(self._folder, Row) if row.key[:-1] == cell.key[:-1])
        row = next(alike, None)
        return replace(row, seed=cell.seed) if row is not None else None

    def _row(self, key: tuple[str, ...]) -> Row | None:
        return next((row for row in read(self._folder, Row) if row.key == key), None)

    @cached_property
    def _commit(self) -> str:
        command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""


def _same_choice(row: Row, chose: Mapping[tuple[str, ...], Row]) -> bool:
    """Whether a stack that is asked with the memory prompt is the configuration that MiLP chose for the user here."""
    milp = chose.get(replace(row, method="milp").key)
    return milp is not None and (milp.layers, milp.n, milp.r) == (row.layers, row.n, row.r)


def _measured(cell: Cell, methods: Methods, made: Mapping[str, str]) -> Measured:
    """One cell, measured now.

    Args:
        made: what its row says of how.
    """
    person, answering, base = methods.person(cell), methods.answering(cell), methods.base
    evaluation = answer_test(base, answering.stack, answering.prompt, methods.whole(cell), methods.settings)
    split, search, stack = person.split, answering.search, answering.stack
    values: dict[str, Any] = {
        **asdict(cell),
        **summarised(evaluation),
        **_configuration(answering),
        "trials": len(search.trials) if search is not None else None,
        "trial": search.winner if search is not None else None,
        "passes": answering.passes,
        "activated": search.activated if search is not None else None,
        "seconds": answering.seconds,
        "parameters": stack.parameters if stack is not None else 0,
        "bytes": answering.kept,
        "prompt_tokens": prompt_tokens(base, answering.prompt, person, methods.settings),
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
        **made,
        "per_sample": {"rouge_l": evaluation.rouge_l, "persona_f1": evaluation.persona_f1},
    }
    record = None if search is None else SearchRecord(**asdict(cell), trials=search.trials, winner=search.winner)
    return Measured(Row(**values), record, evaluation)


def _configuration(answering: Answering) -> dict[str, Any]:
    if answering.stack is None:
        return {}
    configuration = answering.stack.configuration
    return {"layers": configuration.layer_bits, "n": configuration.n, "r": configuration.r}


def _answers(cell: Cell, person: Person, evaluation: Evaluation) -> Answers:
    return Answers(
        **asdict(cell),
        answers=evaluation.responses,
        queries=[sample.query for sample in person.split.test],
        references=[sample.response for sample in person.split.test],
    )
