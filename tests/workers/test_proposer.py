"""The surrogate's own process: the same points as in this one, an error where it fails, and no process left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Timer

import pytest

from benchmarks.synthetic import SyntheticProblem
from workers.proposer import Proposer, ProposerError, Question, in_this_process
from workers.search.errors import SurrogateUnavailableError
from workers.search.initial import initial_design
from workers.search.presets import PRESETS
from workers.search.space import SearchSpace

SPACE = SearchSpace(8, 64)
PATIENCE = 60


def question(surrogate: str = "map_saas") -> Question:
    problem = SyntheticProblem(SPACE, seed=3)
    tried = [SPACE.base, *initial_design(SPACE, 20, seed=1)]
    # The design of the preset and this seed comes first; what it does not hold counts as tried already.
    first = in_this_process(_bare(surrogate)).configurations
    return Question(
        **{
            **_bare(surrogate).__dict__,
            "observations_in_order": [problem.observe(c) for c, _ in first] + [problem.observe(c) for c in tried[1:4]],
            "pending": tried[4:6],
            "failed": tried[6:7],
        }
    )


def _bare(surrogate: str) -> Question:
    return Question(SPACE, PRESETS["standard"], [], [], [], 3, 11, surrogate, 1.5, None)


@pytest.fixture
def proposer() -> Iterator[Proposer]:
    made = Proposer()
    yield made
    made.close()


def test_another_process_proposes_the_very_same_points(proposer: Proposer) -> None:
    asked = question()
    reply = proposer.ask(asked)

    assert [origin for _, origin in reply.configurations] == ["proposed"] * 3
    assert reply == in_this_process(asked)
    # The process stays: the second answer comes from the same one.
    assert proposer.ask(_bare("map_saas")).configurations[0][1] == "base"


def test_what_the_search_refuses_is_told_and_the_next_question_answered(proposer: Proposer) -> None:
    with pytest.raises(ProposerError, match="unknown surrogate"):
        proposer.ask(question("guesswork"))
    assert len(proposer.ask(_bare("map_saas")).configurations) == 21


def test_a_surrogate_that_is_not_installed_is_told_as_such(proposer: Proposer, monkeypatch: pytest.MonkeyPatch) -> None:
    hiding = "import sys; sys.modules['numpyro'] = None; sys.modules['jax'] = None"
    program = f"{hiding}; from workers.proposer import main; main()"
    started = subprocess.Popen

    def without_numpyro(command: list[str], **more: object) -> subprocess.Popen[bytes]:
        return started([sys.executable, "-c", program], **more)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr("workers.proposer.subprocess.Popen", without_numpyro)
    with pytest.raises(SurrogateUnavailableError, match="fully-bayesian"):
        proposer.ask(question("fully_bayesian_saas"))


def test_a_process_that_was_killed_is_an_error_and_then_started_anew(proposer: Proposer) -> None:
    proposer.ask(_bare("map_saas"))
    process = proposer._process
    assert process is not None
    # Stopped first, so that it dies with the question in the pipe.
    os.kill(process.pid, signal.SIGSTOP)
    killer = Timer(0.5, process.kill)
    killer.start()
    with pytest.raises(ProposerError, match="died"):
        proposer.ask(_bare("map_saas"))
    killer.join()
    assert proposer.ask(_bare("map_saas")).configurations


def test_an_interrupted_question_fails_at_once(proposer: Proposer) -> None:
    proposer.ask(_bare("map_saas"))
    assert proposer._process is not None
    os.kill(proposer._process.pid, signal.SIGSTOP)  # as if it thought for long
    Timer(0.3, proposer.interrupt).start()
    with pytest.raises(ProposerError, match="died"):
        proposer.ask(_bare("map_saas"))


def test_it_ends_with_its_parent(tmp_path: object) -> None:
    program = (
        "import os\n"
        "from workers.proposer import Proposer\n"
        "from tests.workers.test_proposer import _bare\n"
        "made = Proposer(); made.ask(_bare('map_saas'))\n"
        "print(made._process.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    pid = json.loads(ran.stdout)
    deadline = time.monotonic() + PATIENCE
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
