"""The plain words: every gain, loss and gap that stands in the rows is said, with its number, and nothing else is."""

from __future__ import annotations

import math

from evaluation.judge.judgements import Judgement
from evaluation.judge.labels import Agreement
from evaluation.report.summary import summarise
from evaluation.rows import Row
from tests.evaluation.made import row, rows


def said(*measured: list[Row]) -> str:
    passage, *_ = summarise([one for some in measured for one in some])
    return " ".join(passage.sentences)


def test_it_begins_with_what_was_measured_and_what_was_not() -> None:
    made = [row(user, "milp", 5.0, seed=seed, test=20) for user in "ab" for seed in (0, 1)]
    words = said(made, rows("base", [1.0], test=20))
    assert "Measured on 3 users with 2 seeds, 20 test samples a user: Base and MiLP." in words
    assert (
        "Not measured: Dictionary memory, MaLP, One default LoRA, Default LoRA, averaged, Random search, MiLP + memory"
        in words
    )


def test_a_gain_is_said_with_scores_interval_and_certainty() -> None:
    words = said(rows("base", [10.0] * 5), rows("malp", [9.0] * 5), rows("milp", [15.0] * 5))
    assert (
        "In ROUGE-L MiLP gains +5.00 (+5.00 to +5.00) against the best baseline, Base (15.00 against 10.00, +50.0 % "
        "(+50.0 to +50.0) relative), better for 5 and worse for 0 of 5 users. The interval excludes zero, "
        "the permutation test (p 0.062) does not: it may be luck."
    ) in words  # of 32 ways to give five signs, two are as far from zero
    assert "The interval excludes zero (p 0.031)." in said(rows("base", [10.0] * 6), rows("milp", [15.0] * 6))
    assert "In Persona F1 MiLP gains +0.50" in words
    assert "For no user is MiLP's ROUGE-L below that of Base." in words


def test_a_gain_that_may_be_luck_is_said_to_be_one() -> None:
    assert "The interval includes zero (p " in said(rows("base", [1.0, 9.0, 5.0]), rows("milp", [9.0, 1.0, 6.0]))
    assert "With one user there is no interval: it may be luck." in said(rows("base", [1.0]), rows("milp", [9.0]))


def test_where_milp_loses_the_users_are_named_with_by_how_much() -> None:
    words = said(rows("malp", [5.0, 5.0, 5.0]), rows("milp", [9.0, 4.25, 1.0]))
    assert "In ROUGE-L MiLP loses -0.25" in words
    assert "MiLP loses ROUGE-L to MaLP for 2 of 3 users: u2 by 4.00 and u1 by 0.75." in words


def test_of_many_losers_the_worst_are_named_and_the_rest_counted() -> None:
    words = said(rows("base", [5.0] * 13), rows("milp", [4.0 - number / 10 for number in range(13)]))
    assert "for 13 of 13 users: u12 by 2.20, " in words
    assert " and 3 more." in words


def test_a_loss_beyond_a_users_own_chance_is_counted() -> None:
    samples = {"rouge_l": [5.0] * 4}
    words = said(
        rows("base", [5.0, 5.0], per_sample=samples),
        [
            row("u0", "milp", 1.0, per_sample={"rouge_l": [1.0] * 4}),
            row("u1", "milp", 4.0, per_sample={"rouge_l": [9.0, 1.0, 5.0, 1.0]}),
        ],
    )
    assert "For 1 of them the interval over their own test samples excludes zero." in words


def test_whoever_is_better_than_milp_in_the_mean_is_named() -> None:
    words = said(
        rows("base", [1.0], loss=2.0),
        rows("milp", [5.0], loss=2.5),
        rows("milp_memory", [6.0], loss=3.0, persona_f1=0.1),
    )
    assert "Better than MiLP in the mean of ROUGE-L: MiLP + memory prompt (by 1.00)." in words
    assert "Better than MiLP in the mean of Loss, nats: Base (by 0.500)." in words
    assert "Better than MiLP in the mean of Persona F1" not in words
    assert "No other method is better than MiLP" in said(rows("base", [1.0], loss=4.0), rows("milp", [5.0]))


def test_the_rivals_and_the_controls_are_compared_where_measured() -> None:
    words = said(
        *(rows(method, [1.0, 2.0]) for method in ("base", "default_lora", "default_averaged", "random", "other_user")),
        rows("milp", [4.0, 5.0]),
    )
    assert "MiLP's ROUGE-L less that of one default LoRA: +3.00 (+3.00 to +3.00)." in words
    assert "MiLP's ROUGE-L less that of default LoRA, averaged: +3.00" in words
    assert "MiLP's ROUGE-L less that of random search: +3.00" in words
    assert "less that of the control, another user's stack: +3.00" in words
    assert "One LoRA of all other users: " not in words


def test_the_gates_record_is_said_with_whom_it_should_not_have_held_back() -> None:
    milp = [
        row(f"u{n}", "milp", score, activated=on)
        for n, (score, on) in enumerate([(9.0, False), (1.0, False), (2.0, True)])
    ]
    words = said(milp, rows("base", [5.0] * 3))
    assert "The gate let MiLP answer in 1 of 3 cases (users times seeds)." in words
    assert (
        "In 2 MiLP was worse on test than the best of Base; the gate held back 1 of these (50 %, wanted: 80 %)."
        in words
    )
    assert "It also held back 1 of the 1 that MiLP would have served better." in words
    none_worse = said([row("u0", "milp", 9.0, activated=True)], rows("base", [5.0]))
    assert "In none of them was MiLP worse on test" in none_worse
    assert "No gate's decision was recorded" in said(rows("milp", [9.0]), rows("base", [5.0]))


def test_cost_is_said_beside_the_prompts_it_saves() -> None:
    words = said(
        rows("milp", [1.0], seconds=90.0, parameters=1000, bytes=2000, prompt_tokens=20.0),
        rows("malp", [1.0], prompt_tokens=120.5),
    )
    assert (
        "MiLP took 90.0 s a user, trained 1,000 parameters that answer, keeps 2.0 kB, and its prompts have 20.0"
        in words
    )
    assert "On the same users, a prompt of MaLP has 120.5: 100.5 more." in words


def test_what_makes_the_figures_weak_is_said() -> None:
    words = said(rows("milp", [1.0, 2.0]), rows("base", [1.0], loss=math.nan))
    assert "Only 2 users: intervals over so few" in words
    assert "No shorter history was measured" in words
    assert "Only one seed" in words
    assert "Not every method has every user (Base has 1)" in words
    assert "Left out, for not being finite: 1 score." in words
    assert "No control was measured" in words
    many = [one for seed in (0, 1) for one in rows("milp", [1.0] * 20, seed=seed)]
    assert "Only" not in said(many)


def test_what_was_measured_with_fewer_seeds_than_milp_is_named() -> None:
    milp = [one for seed in (0, 1) for one in rows("milp", [1.0] * 20, seed=seed)]
    words = said(milp, rows("random", [2.0] * 20), rows("default_lora", [2.0] * 20), rows("base", [1.0] * 20))
    assert "Measured on 20 users with 2 seeds at most" in words
    assert "Only one seed of One default LoRA and Random search: how far chance moves those figures" in words
    assert "Base" not in words.split("Only one seed of ")[1]


def test_without_milp_or_without_a_baseline_nothing_is_compared() -> None:
    assert "MiLP itself was not measured" in said(rows("base", [1.0]))
    words = said(rows("milp", [1.0]))
    assert "No baseline was measured on MiLP's users, so what it gains in ROUGE-L is not known." in words
    assert "MiLP gains" not in words


def test_nothing_measured_is_said_to_be_nothing() -> None:
    (passage,) = summarise([])
    assert passage.title == "Nothing was measured"


def test_each_set_and_base_has_its_passage_and_the_judge_the_last() -> None:
    made = [row("a", "milp", 1.0, set=name, base=base) for name in ("s", "t") for base in ("x", "y")]
    assert [passage.title for passage in summarise(made)] == ["s on x", "s on y", "t on x", "t on y", "Judge"]


def test_no_judge_is_said_and_a_judge_is_told_with_its_agreement() -> None:
    made = rows("milp", [1.0])
    assert summarise(made)[-1].sentences == ("No judge model was asked, so there are no win rates.",)
    judged = [
        Judgement("s", "small", "u", 0, n, "milp", "base", (what, what), "j") for n, what in enumerate(["first", "tie"])
    ]
    (told, unlabelled) = summarise(made, judged)[-1].sentences
    assert told == (
        "By j, asked in both orders, MiLP against Base on s (small) has a win rate of 75.0 %: 1 won, 1 tied, 0 lost, "
        "0 not readable."
    )
    assert "not known" in unlabelled
    assert (
        summarise(made, judged, [Agreement("j", 4, None, 0.5)])[-1].sentences[-1]
        == "j says what people say in 50 % of 4 items."
    )
    (_, unlike) = summarise(made, judged, [Agreement("j", 0, None, None)])[-1].sentences
    assert unlike == (
        "People's labels are there, but none is of a pair that j judged readably: judge the same methods as on the "
        "sheet, and without --samples."
    )
