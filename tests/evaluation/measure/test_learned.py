"""What each method learns from and how it is asked: nobody's test part, and of a control nothing of the person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.job_options import JobOptions
from app.settings import Settings
from engine.configuration import Configuration
from engine.course import Course
from engine.history import Sample
from engine.memory import MemoryPrompt
from engine.prompts import query_alone
from engine.stack import Stack
from engine.training import Candidate
from evaluation.measure import methods as methods_module
from evaluation.measure.grid import Cell, Grid, Method, SetOf
from evaluation.measure.methods import Answering, Methods, UnmeasurableError
from evaluation.measure.people import Person, read_people
from evaluation.measure.searches import Search
from evaluation.rows import Row
from tests.evaluation.made import row
from tests.evaluation.measure.people_files import write_people

CHOSEN: dict[str, dict[str, Any]] = {
    "ada": {"layers": "010", "n": 2, "r": 8, "trial": 3, "passes": 4, "seconds": 50.0},
    "bob": {"layers": "101", "n": 1, "r": 32, "trial": 2, "passes": 4, "seconds": 70.0},
    "eve": {"trial": 0},
}
"""What MiLP chose for each: eve's best was the base itself."""


class Learned:
    """All trainings there were, none of which takes place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.candidates: list[Candidate] = []
        self.course: Course | None = None
        monkeypatch.setattr(methods_module, "train_candidates", self._train)
        monkeypatch.setattr(methods_module, "averaged", lambda trained: Stack(trained[0].configuration, {}, {}))

    @property
    def samples(self) -> Sequence[Sample]:
        assert self.course is not None
        return self.course.train

    def _train(self, _base: object, candidates: Sequence[Candidate], course: Course) -> Sequence[Candidate]:
        self.candidates, self.course = list(candidates), course
        return candidates


@pytest.fixture
def people(tmp_path: Path) -> list[Person]:
    return read_people("s", [write_people(tmp_path / "p.jsonl", *CHOSEN)])


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> Learned:
    return Learned(monkeypatch)


@pytest.fixture
def ask(people: list[Person]) -> Callable[[str, Method], Answering]:
    return asking(people)


def asking(people: list[Person]) -> Callable[[str, Method], Answering]:
    def measured(key: tuple[str, ...]) -> Row | None:
        user, method = key[2], key[3]
        return row(user, method, 1.0, **CHOSEN[user]) if method == "milp" else None

    searches: Any = SimpleNamespace(base=SimpleNamespace(n_layers=3), settings=Settings(_env_file=None))
    grid = Grid(sets=[SetOf(name="s", paths=[Path("p")])], bases=["b"])
    of = Methods(grid, searches, people, measured)
    return lambda user, method: of.answering(Cell("s", "b", user, method, 0))


def test_random_search_has_as_many_trials_as_milp_made(people: list[Person]) -> None:
    asked: list[int | None] = []

    def search(_person: Person, _name: str, options: JobOptions, *_more: object) -> Search:
        asked.append(options.trials)
        return Search(None, activated=False, seconds=1.0, winner=0, passes=None, trials=[])

    searches: Any = SimpleNamespace(base=None, settings=Settings(_env_file=None), search=search)
    grid = Grid(sets=[SetOf(name="s", paths=[Path("p")])], bases=["b"], trials=40)
    for known in (row("ada", "milp", 1.0, trials=33), None):
        Methods(grid, searches, people, lambda _key, known=known: known).answering(Cell("s", "b", "ada", "random", 0))
    assert asked == [33, 40]


def texts(samples: Sequence[Sample]) -> list[str]:
    return [sample.query for sample in samples]


@pytest.mark.parametrize("method", ["default_lora", "default_averaged", "milp_memory"])
def test_what_is_trained_for_a_person_knows_all_before_the_test_part(
    method: Method, people: list[Person], learned: Learned, ask: Callable[[str, Method], Answering]
) -> None:
    ask("ada", method)
    assert texts(learned.samples) == texts(people[0].known)
    assert not set(texts(learned.samples)) & set(texts(people[0].split.test))


@pytest.mark.parametrize("method", ["dictionary_memory", "malp"])
def test_what_remembers_a_person_knows_all_before_the_test_part_and_nothing_of_it(
    method: Method, people: list[Person], ask: Callable[[str, Method], Answering]
) -> None:
    prompt, person = ask("ada", method).prompt, people[0]

    def shown(sample: Sample) -> str:
        return "\n".join(message.content for message in prompt(sample)[:-1])

    # Asked what it was asked before, it shows what was answered then, to the last one before the test part.
    assert all(sample.response in shown(sample) for sample in person.known)
    seen = "\n".join(map(shown, (*person.known, *person.split.test)))
    assert not [text for sample in person.split.test for text in (sample.query, sample.response) if text in seen]
    assert person.profile in seen


def test_malps_facts_are_of_the_side_that_the_person_wrote(people: list[Person]) -> None:
    asked, who_answers = people[0].split.test[0], [replace(person, wrote="responses") for person in people]
    of_queries, of_responses = (asking(of)("ada", "malp").prompt(asked)[0].content for of in (people, who_answers))
    assert ("asks about" in of_queries, "as always on day" in of_queries) == (True, False)
    assert ("asks about" in of_responses, "as always on day" in of_responses) == (False, True)


def test_milp_with_memory_is_trained_and_asked_with_the_prompt_that_remembers(
    people: list[Person], learned: Learned, ask: Callable[[str, Method], Answering]
) -> None:
    answering = ask("ada", "milp_memory")
    assert learned.course is not None
    assert isinstance(learned.course.prompt, MemoryPrompt)
    assert answering.prompt is learned.course.prompt
    # The profile is in the prompt, and not learned as well.
    assert learned.course.profile == ""
    assert learned.candidates[0].configuration == Configuration((False, True, False), 2, 8)
    assert len(learned.candidates) == Settings(_env_file=None).averaged
    history = sum(len(text.encode()) for sample in people[0].known for text in (sample.query, sample.response))
    assert (answering.kept, answering.seconds > 50.0) == (history, True)


def test_where_the_base_won_its_memory_prompt_answers_alone(
    learned: Learned, ask: Callable[[str, Method], Answering]
) -> None:
    answering = ask("eve", "milp_memory")
    assert (answering.stack, learned.candidates) == (None, [])
    assert isinstance(answering.prompt, MemoryPrompt)


@pytest.mark.parametrize(("user", "place"), [("ada", 1), ("eve", 0)])
def test_the_stack_of_another_user_is_the_next_ones_as_they_would_have_it(
    user: str, place: int, people: list[Person], learned: Learned, ask: Callable[[str, Method], Answering]
) -> None:
    answering, other = ask(user, "other_user"), people[place]
    assert learned.course is not None
    assert texts(learned.samples) == texts(other.known)
    assert learned.course.profile == other.profile
    assert learned.candidates[0].configuration.layer_bits == CHOSEN[other.user]["layers"]
    assert answering.prompt is query_alone


def test_the_domains_lora_knows_everyone_but_the_person(
    people: list[Person], learned: Learned, ask: Callable[[str, Method], Answering]
) -> None:
    ask("bob", "domain_lora")
    ada, bob, eve = people
    assert learned.course is not None
    assert texts(learned.samples) == texts([*ada.known, *eve.known])
    everything = [*bob.known, *(sample for person in people for sample in person.split.test)]
    assert not set(texts(learned.samples)) & set(texts(everything))
    assert learned.course.profile == ""
    assert [candidate.configuration for candidate in learned.candidates] == [Configuration((True, True, True), 1, 16)]


def test_a_control_of_one_user_alone_cannot_be_measured(tmp_path: Path) -> None:
    searches: Any = SimpleNamespace(base=SimpleNamespace(n_layers=3), settings=Settings(_env_file=None))
    grid = Grid(sets=[SetOf(name="s", paths=[Path("p")])], bases=["b"])
    alone = Methods(grid, searches, read_people("s", [write_people(tmp_path / "a.jsonl", "ada")]), lambda _key: None)
    refused: tuple[tuple[Method, str], ...] = (
        ("other_user", "no other one's stack"),
        ("domain_lora", "no domain without them"),
    )
    for method, said in refused:
        with pytest.raises(UnmeasurableError, match=said):
            alone.answering(Cell("s", "b", "ada", method, 0))
