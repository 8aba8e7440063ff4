"""Whose histories are evaluated, and how they are split."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import InvalidEncodingError
from evaluation.measure.people import names_in, read_people
from tests.evaluation.measure.people_files import turn_round, write_people


def test_a_history_is_split_in_time_as_the_service_splits_it(tmp_path: Path) -> None:
    (person,) = read_people("s", [write_people(tmp_path / "p.jsonl", "ada")])
    assert [len(part) for part in (person.split.train, person.split.validation, person.split.test)] == [12, 4, 4]
    assert (person.set, person.user, person.profile) == ("s", "ada", "ada keeps a garden.")


def test_what_is_known_and_asked_has_a_digest_whoever_it_is_of_and_wherever_it_lies(tmp_path: Path) -> None:
    first, second = (read_people(name, [write_people(tmp_path / f"{name}.jsonl", "ada")])[0] for name in "ab")
    assert first.digest == second.digest == replace(first, user="eve").digest
    query = replace(first.split.test[-1], query="another?")
    others = [
        replace(first, profile="ada keeps bees."),
        replace(first, wrote="responses"),
        first.remembering(0.75),
        replace(first, split=replace(first.split, test=(*first.split.test[:-1], query))),
    ]
    assert len({person.digest for person in (first, *others)}) == 5


def test_a_history_is_put_in_time_order_first_and_what_has_no_time_comes_last(tmp_path: Path) -> None:
    path = write_people(tmp_path / "p.jsonl", "ada")
    turn_round(path)
    (person,) = read_people("s", [path])
    days = [sample.query.rsplit(" ", 1)[1] for sample in (*person.known, *person.split.test)]
    assert days == [f"{day}?" for day in (*range(18), 19, 18)]


def test_only_the_first_users_are_taken_and_files_follow_one_another(tmp_path: Path) -> None:
    files = [write_people(tmp_path / "a.jsonl", "ada", "bob"), write_people(tmp_path / "b.jsonl", "eve")]
    assert [person.user for person in read_people("s", files)] == ["ada", "bob", "eve"]
    assert [person.user for person in read_people("s", files, first=2)] == ["ada", "bob"]


def test_a_user_with_too_few_samples_is_left_out_before_the_first_are_counted(tmp_path: Path) -> None:
    short, long = write_people(tmp_path / "a.jsonl", "ada", samples=19), write_people(tmp_path / "b.jsonl", "bob")
    assert [person.user for person in read_people("s", [short, long], first=1)] == ["bob"]
    with pytest.raises(ValueError, match="no user with at least 20 samples"):
        read_people("s", [short])


def test_who_is_left_out_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    short = write_people(tmp_path / "a.jsonl", *(f"user{i}" for i in range(7)), samples=19)
    files = [short, write_people(tmp_path / "b.jsonl", "bob")]
    read_people("s", files, tell=said.append)
    assert said == [
        "the set 's': 7 with fewer than 20 samples left out (user0, user1, user2, user3, user4, ..)",
    ]


@pytest.mark.parametrize(("field", "named"), [("profile", "The profile"), ("query", "A query")])
@pytest.mark.parametrize(("bad", "why"), [("\\ud800", "half of a surrogate pair"), ("\\u0000", "NUL character")])
def test_a_text_that_cannot_be_kept_is_named_at_once(
    tmp_path: Path, field: str, named: str, bad: str, why: str
) -> None:
    path = write_people(tmp_path / "p.jsonl", "ada")
    path.write_text(path.read_text().replace(f'"{field}": "', f'"{field}": "{bad}', 1))
    with pytest.raises(InvalidEncodingError, match=f"{named} of user 'ada' in the set 's' contains.*{why}"):
        read_people("s", [path])


def test_a_pair_that_comes_twice_counts_once(tmp_path: Path) -> None:
    path = write_people(tmp_path / "p.jsonl", "ada")
    told = json.loads(path.read_text())
    told["samples"] = [told["samples"][0], *told["samples"]]
    path.write_text(json.dumps(told))
    (person,) = read_people("s", [path])
    assert sum(map(len, (person.split.train, person.split.validation, person.split.test))) == 20


@pytest.mark.parametrize("side", ["query", "response"])
def test_a_pair_with_an_empty_side_does_not_count_and_is_told_of(tmp_path: Path, side: str) -> None:
    path, said = write_people(tmp_path / "p.jsonl", "ada", samples=22), []
    told = json.loads(path.read_text())
    told["profile"] = None
    for sample, blank in zip(told["samples"][-2:], ("", " \n"), strict=True):
        sample[side] = blank
    path.write_text(json.dumps(told))
    (person,) = read_people("s", [path], tell=said.append)
    assert (len(person.known), len(person.split.test), person.profile) == (16, 4, "")
    assert said == ["the set 's': 2 pairs left out, with an empty query or response"]


def test_who_wrote_which_side_is_said_of_all_or_of_each(tmp_path: Path) -> None:
    file = write_people(tmp_path / "a.jsonl", "ada", "bob")
    assert [person.wrote for person in read_people("s", [file], wrote="responses")] == ["responses"] * 2
    assert [person.wrote for person in read_people("s", [file], wrote={"bob": "responses"})] == ["queries", "responses"]
    assert read_people("s", [file], wrote={"bob": "responses"}, exclude=["bob"])
    with pytest.raises(ValueError, match="says what 'eve' wrote, but holds no such user"):
        read_people("s", [file], wrote={"bob": "responses", "eve": "queries"})


@pytest.mark.parametrize(("share", "train", "validation"), [(1.0, 48, 16), (0.5, 24, 8), (0.25, 12, 4), (0.001, 6, 2)])
def test_remembering_less_keeps_the_latest_of_what_is_known_and_all_of_the_test_part(
    tmp_path: Path, share: float, train: int, validation: int
) -> None:
    (person,) = read_people("s", [write_people(tmp_path / "p.jsonl", "ada", samples=80)])
    less = person.remembering(share)
    assert less.known == person.known[-train - validation :]
    assert (len(less.split.train), len(less.split.validation)) == (train, validation)
    assert less.split.test == person.split.test


def test_users_that_settings_were_chosen_on_can_be_left_out(tmp_path: Path) -> None:
    file = write_people(tmp_path / "a.jsonl", "ada", "bob", "eve")
    assert [person.user for person in read_people("s", [file], first=2, exclude=["ada"])] == ["bob", "eve"]


def test_a_user_may_be_named_as_the_file_does_or_by_id_and_has_to_be_there(tmp_path: Path) -> None:
    files = [write_people(tmp_path / "a.jsonl", "ada", "bob@example.org"), write_people(tmp_path / "b.jsonl", "eve")]
    assert {"ada", "bob@example.org", "eve"} < names_in(files)
    assert [person.user for person in read_people("s", files, exclude=["bob@example.org"])] == ["ada", "eve"]
    _, bob, eve = read_people("s", files, wrote={"bob@example.org": "responses"})
    assert (bob.wrote, eve.wrote) == ("responses", "queries")
    with pytest.raises(ValueError, match="the set 's' leaves 'bobb' out, but holds no such user"):
        read_people("s", files, exclude=["eve", "bobb"])


def test_a_user_in_two_files_is_refused_with_a_way_to_put_them_together(tmp_path: Path) -> None:
    files = [write_people(tmp_path / "a.jsonl", "ada"), write_people(tmp_path / "b.jsonl", "bob", "ada")]
    with pytest.raises(ValueError, match=r"user 'ada' is in two files of the set 's'.*--format milp"):
        read_people("s", files)
