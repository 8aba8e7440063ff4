"""The judge, asked over real HTTP."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.judge.asking import Judge, JudgeError, judge_run, main, verdict
from evaluation.judge.judgements import Judgement, read_judgements, win_rates
from tests.evaluation.judge.server import Reply, Server
from tests.evaluation.made import keep_answers

MILP_BASE = [("milp", "base")]


def prefers(what: str) -> Callable[[str, str], Reply]:
    """Whichever answer has this word in it, wherever it is shown."""
    return lambda a, b: (200, "Verdict: A" if what in a else "Verdict: B" if what in b else "Verdict: tie")


def judged(folder: Path, judge: Judge) -> list[Judgement]:
    judge_run(folder, judge, MILP_BASE)
    return read_judgements(folder)


def test_both_orders_are_asked_and_the_one_that_wins_both_wins(tmp_path: Path, server: Server, judge: Judge) -> None:
    keep_answers(tmp_path, "u0", "milp", ["good", "bad"])
    keep_answers(tmp_path, "u0", "base", ["bad too", "good too"])
    server.reply = prefers("good")
    first, second = judged(tmp_path, judge)
    assert (first.verdicts, first.outcome) == (["first", "first"], "first")
    assert (second.verdicts, second.outcome) == (["second", "second"], "second")
    assert len(server.requests) == 4


def test_a_judge_that_always_takes_what_it_reads_first_makes_ties_only(
    tmp_path: Path, server: Server, judge: Judge
) -> None:
    keep_answers(tmp_path, "u0", "milp", ["one"])
    keep_answers(tmp_path, "u0", "base", ["two"])
    server.reply = lambda _a, _b: (200, "Verdict: A")
    (given,) = judged(tmp_path, judge)
    assert (given.verdicts, given.outcome) == (["first", "second"], "tie")


def test_a_tie_said_once_is_a_tie(tmp_path: Path, server: Server, judge: Judge) -> None:
    keep_answers(tmp_path, "u0", "milp", ["one"])
    keep_answers(tmp_path, "u0", "base", ["two"])
    server.reply = lambda a, _b: (200, "Verdict: A" if a == "one" else "Verdict: tie")
    (given,) = judged(tmp_path, judge)
    assert (given.verdicts, given.outcome) == (["first", "tie"], "tie")


def test_answers_that_are_the_same_are_a_tie_without_a_question(tmp_path: Path, server: Server, judge: Judge) -> None:
    keep_answers(tmp_path, "u0", "milp", ["same"])
    keep_answers(tmp_path, "u0", "base", ["same"])
    assert judged(tmp_path, judge)[0].outcome == "tie"
    assert server.requests == []


def test_a_question_names_model_query_reference_and_no_method(tmp_path: Path, server: Server) -> None:
    keep_answers(tmp_path, "u0", "milp", ["one"])
    keep_answers(tmp_path, "u0", "base", ["two"])
    with Judge(server.url + "/", "some-model", "secret", pause=0.0) as judge:
        judged(tmp_path, judge)
    path, headers, body = server.requests[0]
    asked = body["messages"][0]["content"]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert (body["model"], body["temperature"]) == ("some-model", 0)
    assert "question 0?" in asked
    assert "reference 0" in asked
    assert "milp" not in asked


def test_a_busy_server_is_asked_again(tmp_path: Path, server: Server, judge: Judge) -> None:
    keep_answers(tmp_path, "u0", "milp", ["one"])
    keep_answers(tmp_path, "u0", "base", ["two"])
    statuses = iter([503, 429, 200, 200])
    server.reply = lambda a, _b: (next(statuses), "Verdict: A" if a == "one" else "Verdict: B")
    assert judged(tmp_path, judge)[0].outcome == "first"
    assert len(server.requests) == 4


def test_a_model_that_takes_no_temperature_is_asked_without(tmp_path: Path, server: Server, judge: Judge) -> None:
    keep_answers(tmp_path, "u0", "milp", ["good"] * 2)
    keep_answers(tmp_path, "u0", "base", ["bad"] * 2)

    def reply(a: str, b: str) -> Reply:
        if "temperature" in server.requests[-1][2]:
            return 400, "'temperature' does not support 0 with this model"
        return prefers("good")(a, b)

    server.reply = reply
    assert [given.outcome for given in judged(tmp_path, judge)] == ["first", "first"]
    assert not judge.is_repeatable
    assert ["temperature" in body for _, _, body in server.requests] == [True, False, False, False, False]


def test_a_server_that_stays_broken_or_refuses_is_an_error_that_says_what_to_do(
    tmp_path: Path, server: Server, judge: Judge
) -> None:
    keep_answers(tmp_path, "u0", "milp", ["one"])
    keep_answers(tmp_path, "u0", "base", ["two"])
    server.reply = lambda _a, _b: (500, "broken")
    with pytest.raises(JudgeError, match=r"HTTP 500.*run the same command again"):
        judged(tmp_path, judge)
    assert len(server.requests) == 3
    server.reply = lambda _a, _b: (401, "who are you")
    with pytest.raises(JudgeError, match="HTTP 401"):
        judged(tmp_path, judge)
    assert len(server.requests) == 4  # a refusal is not asked again
    assert read_judgements(tmp_path) == []


def test_a_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    keep_answers(tmp_path, "u0", "milp", ["one"])
    keep_answers(tmp_path, "u0", "base", ["two"])
    with (
        Judge("http://127.0.0.1:9/v1", "some-model", attempts=2, pause=0.0) as judge,
        pytest.raises(JudgeError, match="ConnectError"),
    ):
        judged(tmp_path, judge)


@pytest.mark.parametrize("status", [400, 413, 422, 504])
def test_a_pair_that_the_judge_refuses_is_left_out_counted_and_asked_again_later(
    tmp_path: Path, server: Server, judge: Judge, status: int
) -> None:
    keep_answers(tmp_path, "u0", "milp", ["too long", "good", "too long too"])
    keep_answers(tmp_path, "u0", "base", ["bad", "bad", "bad"])
    answered = prefers("good")
    server.reply = lambda a, b: (status, "cannot") if "too long" in a + b else answered(a, b)
    seen: list[tuple[int, int]] = []
    for new in (1, 0):
        done = judge_run(tmp_path, judge, MILP_BASE, progress=lambda done, of: seen.append((done, of)))
        assert (done.new, len(done.left_out)) == (new, 2)
        assert f"HTTP {status}" in done.left_out[0]
    assert seen == [(0, 3), (0, 3), (1, 3), (1, 3), (1, 3), (1, 3), (1, 3)]
    assert [given.sample for given in read_judgements(tmp_path)] == [1]
    server.reply = answered
    assert judge_run(tmp_path, judge, MILP_BASE).new == 2


def test_a_pair_that_keeps_timing_out_is_left_out(tmp_path: Path, server: Server) -> None:
    keep_answers(tmp_path, "u0", "milp", ["slow", "good"])
    keep_answers(tmp_path, "u0", "base", ["bad", "bad"])
    done = threading.Event()
    server.reply = lambda a, b: (200, str(done.wait(10))) if "slow" in a + b else prefers("good")(a, b)
    with Judge(server.url, "some-model", attempts=2, pause=0.0, timeout=1.0) as judge:
        left_out = judge_run(tmp_path, judge, MILP_BASE).left_out
    done.set()
    assert len(left_out) == 1
    assert "ReadTimeout" in left_out[0]
    assert len(server.requests) == 4
    assert [given.sample for given in read_judgements(tmp_path)] == [1]


def test_a_server_that_is_silent_pair_after_pair_ends_it(tmp_path: Path, server: Server, judge: Judge) -> None:
    keep_answers(tmp_path, "u0", "milp", list("abcd"))
    keep_answers(tmp_path, "u0", "base", list("efgh"))
    server.reply = lambda _a, _b: (504, "gateway timeout")
    with pytest.raises(JudgeError, match=r"3 pairs in a row \(HTTP 504.*run the same command again"):
        judge_run(tmp_path, judge, MILP_BASE)


def test_where_no_pair_can_be_judged_that_is_an_error(tmp_path: Path, server: Server, judge: Judge) -> None:
    keep_answers(tmp_path, "u0", "milp", ["one", "two", "same"])
    keep_answers(tmp_path, "u0", "base", ["three", "four", "same"])
    server.reply = lambda _a, _b: (400, "no such parameter")
    with pytest.raises(JudgeError, match=r"none of the 2 pairs.*HTTP 400"):
        judge_run(tmp_path, judge, MILP_BASE)


def test_the_command_says_how_many_pairs_were_left_out_and_why(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_answers(tmp_path, "u0", "milp", ["too long", "good"])
    keep_answers(tmp_path, "u0", "base", ["bad", "bad"])
    server.reply = lambda a, b: (400, "x") if "too long" in a + b else (200, "Verdict: A")
    given = ["--url", server.url, "--model", "m", "--against", "base"]
    monkeypatch.setattr("sys.argv", ["judge", str(tmp_path), *given])
    main()
    assert re.search(r"1 of 2 judged\n1 pair could not be judged.*HTTP 400", capsys.readouterr().err)


@pytest.mark.parametrize("url", ["http://[::1/v1", "http://127.0.0.1:not-a-port/v1", "127.0.0.1:8000/v1"])
def test_a_url_that_is_none_is_an_error_at_once(tmp_path: Path, url: str) -> None:
    keep_answers(tmp_path, "u0", "milp", ["one"])
    keep_answers(tmp_path, "u0", "base", ["two"])
    with Judge(url, "some-model", pause=60.0) as judge, pytest.raises(JudgeError, match="look at its URL"):
        judged(tmp_path, judge)


def test_a_reply_that_cannot_be_decoded_is_an_error(tmp_path: Path, server: Server, judge: Judge) -> None:
    keep_answers(tmp_path, "u0", "milp", ["one"])
    keep_answers(tmp_path, "u0", "base", ["two"])
    server.encoding = "gzip"
    with pytest.raises(JudgeError, match="DecodingError"):
        judged(tmp_path, judge)


def test_an_interrupted_judging_goes_on_where_it_was(tmp_path: Path, server: Server, judge: Judge) -> None:
    keep_answers(tmp_path, "u0", "milp", ["good", "good 2", "good 3"])
    keep_answers(tmp_path, "u0", "base", ["bad", "bad 2", "bad 3"])
    left = iter([200, 200, 200, 401])
    server.reply = lambda a, b: (next(left, 401), prefers("good")(a, b)[1])
    with pytest.raises(JudgeError):
        judge_run(tmp_path, judge, MILP_BASE)
    assert len(read_judgements(tmp_path)) == 1
    server.reply = prefers("good")
    seen: list[tuple[int, int]] = []
    assert judge_run(tmp_path, judge, MILP_BASE, progress=lambda done, of: seen.append((done, of))).new == 2
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert [given.sample for given in read_judgements(tmp_path)] == [0, 1, 2]
    assert judge_run(tmp_path, judge, MILP_BASE).new == 0
    # The line that a kill cut short is judged again.
    path = tmp_path / "judgements.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:2]) + '\n{"set": "ubu')
    assert len(read_judgements(tmp_path)) == 2


def test_another_judge_judges_anew(tmp_path: Path, server: Server, judge: Judge) -> None:
    keep_answers(tmp_path, "u0", "milp", ["one"])
    keep_answers(tmp_path, "u0", "base", ["two"])
    judge_run(tmp_path, judge, MILP_BASE)
    with Judge(server.url, "other-model", pause=0.0) as other:
        assert judge_run(tmp_path, other, MILP_BASE).new == 1
    assert {given.judge for given in read_judgements(tmp_path)} == {"some-model", "other-model"}


def test_a_run_without_texts_cannot_be_judged_and_says_so(tmp_path: Path, judge: Judge) -> None:
    with pytest.raises(ValueError, match="keep the texts"):
        judge_run(tmp_path, judge)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Verdict: A", "a"),
        ("Both are fine.\n**Verdict: B**", "b"),
        ("verdict - Tie.", "tie"),
        ("Verdict: a tie", "tie"),
        ("The verdict is answer_B", "b"),
        ('I could end with "Verdict: A", but: Verdict: B', "b"),
        (" b.", "b"),
        ("TIE", "tie"),
        ("A good answer is rare.", "unreadable"),
        ("Verdict: neither", "unreadable"),
        ("", "unreadable"),
        ("Verdict: A slight edge to B", "unreadable"),
        ("Verdict: A or B", "unreadable"),
        ("Verdict: A is better than B", "a"),
        ("Verdict: A, B", "unreadable"),
        ("Verdict: A tie-break goes to B", "unreadable"),
        ("My verdict is a close call. B.", "unreadable"),
        ("My verdict is a close call.\nVerdict: B", "b"),
        ("Verdict: A\nNo, my verdict is a bit unsure.", "unreadable"),
        ("Verdict: **A** (it is more to the point)", "a"),
        ("Verdict: B. It is a closer match.\n", "b"),
        ("Verdict:\nB", "b"),
    ],
)
def test_a_reply_is_read_the_same_way_always(reply: str, said: str) -> None:
    assert verdict(reply) == said


def test_a_reply_that_cannot_be_read_counts_for_nobody(tmp_path: Path, server: Server, judge: Judge) -> None:
    keep_answers(tmp_path, "u0", "milp", ["one", "good"])
    keep_answers(tmp_path, "u0", "base", ["two", "bad"])
    server.reply = lambda a, b: (200, "Well." if a == "one" else prefers("good")(a, b)[1])
    judged(tmp_path, judge)
    (rate,) = win_rates(read_judgements(tmp_path))
    assert (rate.won, rate.tied, rate.lost, rate.unreadable, rate.judged) == (1, 0, 0, 1, 1)
