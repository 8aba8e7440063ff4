"""The judge, asked over real HTTP: a small server in a thread that answers as a chat endpoint does."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from evaluation.judge.answers import pairs_of, read_answers
from evaluation.judge.asking import Judge, JudgeError, judge_run, verdict
from evaluation.judge.judgements import Judgement, read_judgements, win_rates
from tests.evaluation.made import keep_answers

Reply = tuple[int, str]
MILP_BASE = [("milp", "base")]


class Server:
    """Answers each question by `reply`, which gets answers A and B; the requests it got are kept."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.reply: Callable[[str, str], Reply] = lambda _a, _b: (200, "Verdict: tie")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((self.path, dict(self.headers), body))
                asked = body["messages"][0]["content"]
                found = re.search(r"<answer_A>\n(.*)\n</answer_A>\n<answer_B>\n(.*)\n</answer_B>", asked)
                assert found
                status, text = outer.reply(*found.groups())
                content = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def judge(server: Server) -> Iterator[Judge]:
    with Judge(server.url, "some-model", attempts=3, pause=0.0) as made:
        yield made


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
    assert judge_run(tmp_path, judge, MILP_BASE, progress=lambda done, of: seen.append((done, of))) == 2
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert [given.sample for given in read_judgements(tmp_path)] == [0, 1, 2]
    assert judge_run(tmp_path, judge, MILP_BASE) == 0
    # The line that a kill cut short is judged again.
    path = tmp_path / "judgements.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:2]) + '\n{"set": "ubu')
    assert len(read_judgements(tmp_path)) == 2


def test_another_judge_judges_anew(tmp_path: Path, server: Server, judge: Judge) -> None:
    keep_answers(tmp_path, "u0", "milp", ["one"])
    keep_answers(tmp_path, "u0", "base", ["two"])
    judge_run(tmp_path, judge, MILP_BASE)
    with Judge(server.url, "other-model", pause=0.0) as other:
        assert judge_run(tmp_path, other, MILP_BASE) == 1
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


def made(user: str, outcome: str, sample: int) -> Judgement:
    return Judgement("s", "small", user, 0, sample, "milp", "base", (outcome, outcome), "judge")


def test_a_win_rate_counts_a_tie_as_half_and_every_user_once() -> None:
    a = [made("a", outcome, number) for number, outcome in enumerate(["first", "first", "first", "tie"])]
    b = [made("b", outcome, number) for number, outcome in enumerate(["second", "tie"])]
    (rate,) = win_rates(a + b)
    assert (rate.won, rate.tied, rate.lost) == (3, 2, 1)
    assert rate.rate is not None
    assert rate.rate.mean == (3.5 / 4 + 0.5 / 2) / 2
    assert rate.rate.users == 2


def test_a_method_without_that_seed_is_paired_by_its_own(tmp_path: Path) -> None:
    keep_answers(tmp_path, "u0", "milp", ["seed 1"], seed=1)
    keep_answers(tmp_path, "u0", "base", ["base"], seed=0)
    keep_answers(tmp_path, "u0", "milp", ["variant"], seed=1, variant="epochs=6")
    (pair,) = pairs_of(read_answers(tmp_path), MILP_BASE)
    assert (pair.seed, pair.answers) == (1, ("seed 1", "base"))


def test_few_samples_of_a_user_are_spread_over_the_test_part(tmp_path: Path) -> None:
    keep_answers(tmp_path, "u0", "milp", [str(number) for number in range(9)])
    keep_answers(tmp_path, "u0", "base", ["base"] * 9)
    assert [pair.sample for pair in pairs_of(read_answers(tmp_path), MILP_BASE, samples=3)] == [0, 4, 8]
    assert [pair.sample for pair in pairs_of(read_answers(tmp_path), MILP_BASE, samples=1)] == [0]


def test_methods_that_were_asked_different_things_are_not_paired(tmp_path: Path) -> None:
    keep_answers(tmp_path, "u0", "milp", ["one"])
    keep_answers(tmp_path, "u0", "base", ["two"], queries=["something else"])
    with pytest.raises(ValueError, match="different queries"):
        list(pairs_of(read_answers(tmp_path), MILP_BASE))
