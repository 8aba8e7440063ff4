"""What answers in each method's name: a stack or none, and how it is asked.

Trains and searches by the service's own code. Every method has the same base, the same split and, where it remembers in
the prompt, the same number of items; each knows all that happened before the test part. Must not know scores.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from app.job_options import JobOptions
from app.settings import Settings
from engine.base import Base
from engine.configuration import Configuration
from engine.errors import DoesNotFitError
from engine.history import Sample
from engine.memory import MemoryPrompt
from engine.prompts import Prompting, query_alone
from engine.stack import Stack
from engine.training import Candidate, Course, train_candidates
from evaluation.measure.grid import Cell, Grid, Method
from evaluation.measure.memories import DictionaryMemory, ShortAndLongTermMemory
from evaluation.measure.people import Person
from evaluation.measure.searches import Search, Searches
from evaluation.names import BASELINES
from evaluation.rows import Row
from workers.failures import StepFailedError
from workers.search.seeds import derive_seed
from workers.steps.averaged import averaged, members_of
from workers.steps.evaluate import training_settings

DEFAULT_NUMBER = 1
"""The default LoRA's trial in every search: it draws the same numbers here."""

_ASKED = {"memory_pairs", "max_sequence_tokens", "max_new_tokens"}
"""Of a job's options those that say what is asked and how much is answered: the prompt budget."""


class UnmeasurableError(Exception):
    """A cell cannot be measured; the message says why, and the others can."""


@dataclass(frozen=True)
class Answering:
    """What answers.

    Args:
        seconds: of learning and choosing.
        kept: bytes kept for the user.
        search: what found the stack, where something searched.
        passes: that the stack made.
    """

    stack: Stack | None = None
    prompt: Prompting = query_alone
    seconds: float = 0.0
    kept: int = 0
    search: Search | None = None
    passes: int | None = None


class Methods:
    """All methods for the people of one set on one base.

    Args:
        people: all users of the set, in file order.
        measured: the row with this key, None where it is not measured yet.
    """

    def __init__(
        self,
        grid: Grid,
        searches: Searches,
        people: Sequence[Person],
        measured: Callable[[tuple[str, ...]], Row | None],
    ) -> None:
        self._grid = grid
        self._measured = measured
        self._searches = searches
        self._people = {person.user: person for person in people}
        self._of: Mapping[Method, Callable[[Cell, Person], Answering]] = {
            "base": lambda _cell, _person: Answering(),
            "dictionary_memory": lambda _cell, person: self._remembering(person, DictionaryMemory),
            "malp": lambda _cell, person: self._remembering(
                person, partial(ShortAndLongTermMemory, wrote=person.wrote)
            ),
            "default_lora": lambda cell, person: self._default(cell, person.known, person.profile),
            "default_averaged": lambda cell, person: self._default(
                cell, person.known, person.profile, self.settings.averaged
            ),
            "random": self._searched,
            "milp": self._searched,
            "milp_memory": self._with_memory,
            "other_user": self._of_another,
            "domain_lora": self._of_all_others,
        }
        self.on_trials: Callable[[int], None] = lambda _done: None

    @property
    def base(self) -> Base:
        return self._searches.base

    @property
    def settings(self) -> Settings:
        return self._searches.settings

    def answering(self, cell: Cell) -> Answering:
        """What answers in this cell.

        Raises:
            UnmeasurableError: what the cell needs is not there.
            SearchFailedError: its job failed.
        """
        return self._of[cell.method](cell, self.person(cell))

    def whole(self, cell: Cell) -> Person:
        """Whose test part is answered, with all that is known of them, by which answers of every variant are scored."""
        return self._people[cell.user]

    def person(self, cell: Cell) -> Person:
        """The same person, with as much known of them as the cell's variant says: what a method may learn from."""
        return self.whole(cell).as_in(cell.variant)

    def _remembering(self, person: Person, memory: Callable[[Sequence[Sample], str, int], Prompting]) -> Answering:
        began = time.perf_counter()
        prompt = memory(person.known, person.profile, self._searches.settings.memory_pairs)
        return Answering(prompt=prompt, seconds=time.perf_counter() - began, kept=_remembered(person))

    def _default(self, cell: Cell, samples: Sequence[Sample], profile: str, count: int = 1) -> Answering:
        """The default LoRA, trained on these samples as the service would train it without a search."""
        seed = derive_seed(cell.seed, "trial", DEFAULT_NUMBER)
        candidate = Candidate("default", Configuration.default_lora(self.base.n_layers), seed)
        return self._trained(cell, candidate, self._course(cell, samples, profile), count)

    def _course(self, cell: Cell, samples: Sequence[Sample], profile: str) -> Course:
        options = options_of(self._grid, cell).resolve(self.settings)
        return Course(samples, training_settings(options), profile, cell.seed)

    def _trained(self, cell: Cell, candidate: Candidate, course: Course, count: int) -> Answering:
        """A candidate trained from `count` seeds, as their average."""
        began = time.perf_counter()
        trained = train_candidates(self.base, members_of(candidate, count), course)
        try:
            stack = averaged(trained)
        except (StepFailedError, DoesNotFitError) as error:
            raise UnmeasurableError(f"{cell.method} of {cell.user}: {error}") from error
        passes = course.passes or course.settings.epochs
        learned = Answering(seconds=time.perf_counter() - began, prompt=course.prompt, passes=passes)
        return _with_stack(learned, stack)

    def _searched(self, cell: Cell, person: Person) -> Answering:
        like = _name(replace(cell, method="milp")) if cell.method == "random" else None
        options = options_of(self._grid, cell)
        if cell.method == "random":
            # As many trials as MiLP had: its search may have ended before all were made.
            milp = self._milp(cell, person.user)
            options = options.model_copy(update={"trials": (milp and milp.trials) or options.trials})
        found = self._searches.search(person, _name(cell), options, self.on_trials, like)
        passes = found.passes if found.stack is not None else None
        answering = Answering(seconds=found.seconds, search=found, passes=passes)
        return _with_stack(answering, found.stack)

    def _with_memory(self, cell: Cell, person: Person) -> Answering:
        """The configuration that MiLP chose, trained with the memory prompt before each query and asked so."""
        row = self._row_of(cell, person.user)
        candidate, passes = _chosen(row)
        memory = MemoryPrompt(person.known, person.profile, self.settings.memory_pairs)
        if candidate is None:
            found = Answering(prompt=memory)
        else:
            # The profile is in the prompt.
            course = replace(self._course(cell, person.known, ""), passes=passes, prompt=memory)
            found = self._trained(cell, candidate, course, self.settings.averaged)
        # It needs the search that chose, and what is remembered.
        return replace(found, seconds=found.seconds + row.seconds, kept=found.kept + _remembered(person))

    def _of_another(self, cell: Cell, person: Person) -> Answering:
        """The stack that MiLP found for the next user of the set; the last one's next is the first."""
        users = list(self._people)
        if len(users) < 2:
            raise UnmeasurableError(f"the set {cell.set} has one user, so there is no other one's stack")
        other = self._people[users[(users.index(person.user) + 1) % len(users)]]
        candidate, passes = _chosen(self._row_of(cell, other.user))
        if candidate is None:
            return Answering()
        course = replace(self._course(cell, other.known, other.profile), passes=passes)
        return replace(self._trained(cell, candidate, course, self.settings.averaged), seconds=0.0)

    def _milp(self, cell: Cell, user: str) -> Row | None:
        return self._measured((cell.set, cell.base, user, "milp", "", str(cell.seed)))

    def _row_of(self, cell: Cell, user: str) -> Row:
        row = self._milp(cell, user)
        if row is None:
            raise UnmeasurableError(f"{cell.method} needs the method milp, and {user} has no search of this run")
        return row

    def _of_all_others(self, cell: Cell, person: Person) -> Answering:
        """One LoRA from what is known of everyone but this person: the domain without the person."""
        others = [other for user, other in self._people.items() if user != person.user]
        if not others:
            raise UnmeasurableError(f"the set {cell.set} has one user, so there is no domain without them")
        return self._default(cell, [sample for other in others for sample in other.known], "")


def options_of(grid: Grid, cell: Cell) -> JobOptions:
    """Options of the cell's job: the grid's, and what its method and variant change."""
    options: dict[str, Any] = {"preset": "standard", "trials": grid.trials, **grid.options}
    if cell.method == "random":
        options["surrogate"] = "random"
    name, _, value = cell.variant.partition("=")
    if name == "space":
        options["subspace"] = value.split("+")
    elif name in ("trials", "epochs"):
        options[name] = int(value)
    elif name == "learning_rate":
        options[name] = float(value)
    return JobOptions(seed=cell.seed, **options)


def how_made(grid: Grid, cell: Cell) -> str:
    """Digest (12 hex digits) of the options of the cell's job, as they are resolved here: rows that differ in it were
    trained or asked otherwise. Of a baseline, which trains nothing, of how it is asked alone."""
    options = options_of(grid, cell).resolve(Settings(_env_file=None))
    told = options.model_dump_json(include=_ASKED if cell.method in BASELINES else None)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _chosen(row: Row) -> tuple[Candidate | None, int | None]:
    """What MiLP chose in this row, to be trained again, and its passes; None: the base won."""
    if row.layers is None or row.n is None or row.r is None or row.trial is None:
        return None, None
    configuration = Configuration.from_bits(row.layers, row.n, row.r)
    return Candidate("chosen", configuration, derive_seed(row.seed, "trial", row.trial)), row.passes


def _remembered(person: Person) -> int:
    """Bytes of the history that a memory looks things up in."""
    return sum(len(text.encode()) for s in person.known for text in (s.query, s.response))


def _with_stack(answering: Answering, stack: Stack | None) -> Answering:
    tensors = [] if stack is None else [*stack.a.values(), *stack.b.values()]
    return replace(answering, stack=stack, kept=sum(t.numel() * t.element_size() for t in tensors))


def _name(cell: Cell) -> str:
    return f"{cell.method} {cell.variant} {cell.seed}"
