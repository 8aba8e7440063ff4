"""This project's side: candidates trained and scored by the functions that the service's evaluate step calls.

What a job of the service does beyond that with a batch belongs here, in `our_batch`. Must not know peers.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.search.task import Scored, Task
from engine.evaluation import evaluate_stacks
from engine.learner import Candidate
from engine.training import train_candidates


def our_batch(task: Task, candidates: Sequence[Candidate]) -> list[Scored]:
    """Train and score what the search proposed, in steps of as many as the service takes side by side.

    The base trains nothing and joins the first step, as `workers.steps.plan` has it.
    """
    trained = [c for c in candidates if not c.configuration.is_base]
    steps = [trained[start : start + task.trials_per_step] for start in range(0, len(trained), task.trials_per_step)]
    first = [c for c in candidates if c.configuration.is_base]
    return [one for step in [first + (steps[0] if steps else []), *steps[1:]] for one in _step(task, step)]


def _step(task: Task, candidates: Sequence[Candidate]) -> list[Scored]:
    base, split = task.base, task.history.split
    trained = train_candidates(base, candidates, task.course)
    whole = [one for one in trained if one.stack is not None]
    scores = evaluate_stacks(
        base,
        [one.stack for one in whole],
        split.validation,
        train=split.train,
        profile=task.history.profile,
        max_new_tokens=task.max_new_tokens,
        max_sequence_tokens=task.settings.max_sequence_tokens,
    )
    of = {one.key: evaluation for one, evaluation in zip(whole, scores, strict=True)}
    return [
        Scored(candidate, one.losses, of[one.key].loss, of[one.key].rouge_l)
        if one.key in of
        else Scored(candidate, one.losses, [], [], failed=True)
        for candidate, one in zip(candidates, trained, strict=True)
    ]
