"""MaLP: the doctor's answers to a patient, and patients simulated where none is named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidImportError, InvalidJsonError
from app.importers.alike import alike_groups
from app.importers.result import UNANSWERED, UNASKED
from tests.app.importers.files import dropped, fixture, imported, pairs

PAIRS = [
    ("My knee hurts on stairs.", "Rest it, and cool it."),
    ("For how long?", "Three days. Then come back."),
    ("My ear rings at night.", "Since when?"),
    ("Since the concert.", "Then it will likely pass."),
]


def test_each_turn_of_the_patient_with_the_doctors_next_is_a_pair_without_labels_and_quotes() -> None:
    result = imported("malp", fixture("malp.json"), user="pat")
    assert pairs(result) == {"pat": PAIRS}
    assert dropped(result) == {
        "turn without a text": (1, (2,)),
        UNANSWERED: (1, (1,)),
        UNASKED: (2, (1, 2)),
    }


def test_a_side_that_is_not_there_is_as_one_without_text() -> None:
    dialogue = [{"0": {"User": "It hurts."}}, {"1": {"Assistant": "Where?", "User": None}}]
    result = imported("malp", json.dumps([dialogue]), user="pat")
    assert pairs(result) == {"pat": [("It hurts.", "Where?")]}
    assert dropped(result) == {"turn without a text": (2, (1,))}


def test_where_no_patient_is_named_the_result_says_that_they_are_simulated() -> None:
    result = imported("malp", fixture("malp.json"))
    assert result.users_are.startswith("simulated patients")
    assert result.place == "dialogue"
    assert list(pairs(result).values()) == [PAIRS]
    assert result.users[0].name.startswith("patient-")


def test_patients_of_two_files_stay_apart_and_those_of_one_are_the_same_again() -> None:
    def names(text: str) -> list[str]:
        return [user.name for user in imported("malp", text).users]

    text = fixture("malp.json").text
    assert names(text) == names(text)
    assert names(text) != names(text + "\n")


def test_alike_complaints_are_one_patients() -> None:
    def dialogue(*complaints: str) -> list[dict[str, dict[str, str]]]:
        return [
            {str(i): {"Assistant": f"Answer {i - 1}.", "User": text}} for i, text in enumerate((*complaints, "bye"))
        ]

    knees = [dialogue(*[f"my knee hurts {i} {j} badly" for j in range(70)]) for i in range(2)]
    ears = [dialogue(*[f"ears ringing loudly {i} {j}" for j in range(70)]) for i in range(2)]
    others = [dialogue(f"unlike {name}") for name in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta")]
    result = imported("malp", json.dumps([knees[0], ears[0], knees[1], ears[1], *others]))
    found = [{query.split()[1] for query, _ in history} for history in pairs(result).values()]
    assert [words & {"knee", "ringing"} for words in found] == [{"knee"}, {"ringing"}]


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("[", InvalidJsonError, "not JSON"),
        ("{}", InvalidImportError, "no list of dialogues"),
        ("[]", InvalidImportError, "no list of dialogues"),
        ("[3]", InvalidImportError, "dialogue 1 is not a list"),
        (
            '[[{"0": {"Assistant": "a", "User": "b"}}, {"1": {"Doctor": "a"}}]]',
            InvalidImportError,
            "dialogue 1, turn 2",
        ),
        ('[[{"0": {"Assistant": 1, "User": "b"}}]]', InvalidImportError, "dialogue 1, turn 1"),
    ],
)
def test_a_file_of_another_form_is_told_where(text: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        imported("malp", text)


@given(st.lists(st.tuples(st.text("abc dé", max_size=40), st.integers(0, 50)), max_size=20), st.integers(1, 60))
def test_every_text_is_in_one_group_and_all_groups_but_a_lone_one_are_large_enough(
    texts: list[tuple[str, int]], enough: int
) -> None:
    weights = [weight for _, weight in texts]
    groups = alike_groups([text for text, _ in texts], weights, enough)
    assert sorted(index for group in groups for index in group) == list(range(len(texts)))
    assert all(group == sorted(group) for group in groups)
    if len(groups) > 1:
        assert all(2 * sum(weights[i] for i in group) >= enough for group in groups)
