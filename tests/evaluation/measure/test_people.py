"""Whose histories are evaluated, and how they are split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation.measure.people import read_people
from tests.evaluation.measure.people_files import write_people


def test_a_history_is_split_in_time_as_the_service_splits_it(tmp_path: Path) -> None:
    (person,) = read_people("s", [write_people(tmp_path / "p.jsonl", "ada")])
    assert [len(part) for part in (person.split.train, person.split.validation, person.split.test)] == [12, 4, 4]
    assert (person.set, person.user, person.profile) == ("s", "ada", "ada keeps a garden.")


def test_only_the_first_users_are_taken_and_files_follow_one_another(tmp_path: Path) -> None:
    files = [write_people(tmp_path / "a.jsonl", "ada", "bob"), write_people(tmp_path / "b.jsonl", "eve")]
    assert [person.user for person in read_people("s", files)] == ["ada", "bob", "eve"]
    assert [person.user for person in read_people("s", files, first=2)] == ["ada", "bob"]


def test_a_user_with_too_few_samples_is_left_out_before_the_first_are_counted(tmp_path: Path) -> None:
    short, long = write_people(tmp_path / "a.jsonl", "ada", samples=19), write_people(tmp_path / "b.jsonl", "bob")
    assert [person.user for person in read_people("s", [short, long], first=1)] == ["bob"]
    with pytest.raises(ValueError, match="no user with at least 20 samples"):
        read_people("s", [short])


def test_a_pair_that_comes_twice_counts_once(tmp_path: Path) -> None:
    path = write_people(tmp_path / "p.jsonl", "ada")
    told = json.loads(path.read_text())
    told["samples"] = [told["samples"][0], *told["samples"]]
    path.write_text(json.dumps(told))
    (person,) = read_people("s", [path])
    assert sum(map(len, (person.split.train, person.split.validation, person.split.test))) == 20


def test_remembering_less_keeps_the_latest_of_the_train_part_and_all_of_the_others(tmp_path: Path) -> None:
    (person,) = read_people("s", [write_people(tmp_path / "p.jsonl", "ada")])
    half = person.remembering(0.5)
    assert half.split.train == person.split.train[-6:]
    assert (half.split.validation, half.split.test) == (person.split.validation, person.split.test)
    assert len(person.remembering(0.001).split.train) == 1
