"""What answers in each method's name: a stack or none, and how it is asked.

Trains and searches by the service's own code. Every method has the same base, the same split and, where it remembers in
the prompt, the same number of items; each knows all that happened before the test part. Must not know rows or scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.job_options import JobOptions
from app.settings import Settings
from engine.base import Base
from engine.configuration import Configuration
from engine.history import Sample
from engine.prompts import Prompting, query_alone
from engine.stack import Stack
from engine.training import Candidate, Course, train_candidates
from evaluation.measure.grid import Cell, Grid, Method
from evaluation.measure.memories import DictionaryMemory, ShortAndLongTermMemory
from evaluation.measure.people import Person
from evaluation.measure.searches import Search, Searches
from workers.search.seeds import derive_seed
from workers.steps.evaluate import training_settings

DEFAULT_NUMBER = 1
"""The default LoRA's trial in every search: it draws the same numbers here."""


class UnmeasurableError(Exception):
    """A cell cannot be measured; the message says why, and the others can."""


@dataclass(frozen=True)
class Answering:
    """What answers.

    Args:
        seconds: of learning and choosing.
        kept: bytes kept for the user.
        search: what found the stack, where something searched.
        trials: tried, the base included; None without a search.
    """

    stack: Stack | None = None
    prompt: Prompting = query_alone
    seconds: float = 0.0
    kept: int = 0
    search: Search | None = None
    trials: int | None = None


class Methods:
    """All methods for the people of one set on one base.

    Args:
        people: all users of the set, in file order.
    """

    def __init__(self, grid: Grid, searches: Searches, people: Sequence[Person]) -> None:
        self._grid = grid
        self._searches = searches
        self._people = {person.user: person for person in people}
        self._of: Mapping[Method, Callable[[Cell, Person], Answering]] = {
            "base": lambda _cell, _person: Answering(),
            "dictionary_memory": lambda _cell, person: self._remembering(person, DictionaryMemory),
            "malp": lambda _cell, person: self._remembering(person, ShortAndLongTermMemory),
            "default_lora": lambda cell, person: self._one_lora(cell, person, person.known, person.profile),
            "random": self._searched,
            "milp": self._searched,
            "milp_memory": self._searched,
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

    def person(self, cell: Cell) -> Person:
        """Whose test part is answered, with the train part as the cell's variant has it."""
        person = self._people[cell.user]
        name, _, value = cell.variant.partition("=")
        return person.remembering(float(value)) if name == "history" else person

    def _remembering(self, person: Person, memory: Callable[[Sequence[Sample], str, int], Prompting]) -> Answering:
        began = time.perf_counter()
        prompt = memory(person.known, person.profile, self._searches.settings.memory_pairs)
        kept = sum(len(text.encode()) for s in person.known for text in (s.query, s.response))
        return Answering(prompt=prompt, seconds=time.perf_counter() - began, kept=kept)

    def _one_lora(self, cell: Cell, person: Person, train: Sequence[Sample], profile: str) -> Answering:
        """The default LoRA, trained on these samples as the service would."""
        options = options_of(self._grid, cell).resolve(self._searches.settings)
        configuration = Configuration.default_lora(self.base.n_layers)
        candidate = Candidate("default", configuration, derive_seed(cell.seed, "trial", DEFAULT_NUMBER))
        course = Course(train, training_settings(options), profile, cell.seed)
        began = time.perf_counter()
        (trained,) = train_candidates(self.base, [candidate], course)
        if trained.stack is None:
            raise UnmeasurableError(f"{cell.method} of {person.user}: {trained.error}")
        return _with_stack(Answering(seconds=time.perf_counter() - began), trained.stack)

    def _searched(self, cell: Cell, person: Person) -> Answering:
        found = self._searches.search(person, _name(cell), options_of(self._grid, cell), self.on_trials)
        answering = Answering(seconds=found.seconds, search=found, trials=len(found.trials))
        return _with_stack(answering, found.stack)

    def _of_another(self, cell: Cell, person: Person) -> Answering:
        """The stack that MiLP found for the next user of the set; the last one's next is the first."""
        users = list(self._people)
        if len(users) < 2:
            raise UnmeasurableError(f"the set {cell.set} has one user, so there is no other one's stack")
        other = self._people[users[(users.index(person.user) + 1) % len(users)]]
        found = self._searches.found(other, _name(replace(cell, method="milp")))
        if found is None:
            raise UnmeasurableError(f"other_user needs the method milp, and {other.user} has no search of this run")
        return _with_stack(Answering(), found.stack)

    def _of_all_others(self, cell: Cell, person: Person) -> Answering:
        """One LoRA from what is known of everyone but this person: the domain without the person."""
        others = [other for user, other in self._people.items() if user != person.user]
        if not others:
            raise UnmeasurableError(f"the set {cell.set} has one user, so there is no domain without them")
        return self._one_lora(cell, person, [sample for other in others for sample in other.known], "")


def options_of(grid: Grid, cell: Cell) -> JobOptions:
    """Options of the cell's job: the grid's, and what its method and variant change."""
    options: dict[str, Any] = {"preset": "standard", "trials": grid.trials, **grid.options}
    if cell.method == "random":
        options["surrogate"] = "random"
    if cell.method == "milp_memory":
        options["with_memory"] = True
    name, _, value = cell.variant.partition("=")
    if name == "space":
        options["subspace"] = value.split("+")
    elif name in ("trials", "epochs"):
        options[name] = int(value)
    elif name == "learning_rate":
        options[name] = float(value)
    return JobOptions(seed=cell.seed, **options)


def _with_stack(answering: Answering, stack: Stack | None) -> Answering:
    tensors = [] if stack is None else [*stack.a.values(), *stack.b.values()]
    return replace(answering, stack=stack, kept=sum(t.numel() * t.element_size() for t in tensors))


def _name(cell: Cell) -> str:
    return f"{cell.method} {cell.variant} {cell.seed}"
