"""Scores of whatever answers, on samples of one job: all under the same conditions.

A job may train its stacks with the memory prompt before each query; then they are asked so too. Must not know trials,
winners or gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict

from app.job_options import ResolvedOptions
from engine.evaluation import Evaluation, Examination, evaluate_stacks
from engine.history import Sample
from engine.memory import MemoryPrompt
from engine.prompts import Prompting, query_alone
from engine.stack import Stack
from workers.context import Context
from workers.steps.history import JobHistory


class _How(TypedDict):
    train: Sequence[Sample]
    profile: str
    max_new_tokens: int
    max_sequence_tokens: int


def prompt_of(history: JobHistory, options: ResolvedOptions) -> Prompting:
    """How the job's stacks are asked, in training and afterwards."""
    if not options.with_memory:
        return query_alone
    return MemoryPrompt(history.split.train, history.profile, options.memory_pairs)


class Measure:
    """Scores on samples of one job.

    Args:
        should_stop: asked between tokens; then TrainingStoppedError is raised.
    """

    def __init__(
        self, context: Context, history: JobHistory, options: ResolvedOptions, should_stop: Callable[[], bool]
    ) -> None:
        self._context = context
        self._history = history
        self._options = options
        self._should_stop = should_stop

    def stacks(self, stacks: Sequence[Stack | None], samples: Sequence[Sample]) -> list[Evaluation]:
        """Scores of stacks, asked as they were trained; None is the base, asked the query alone."""
        asked = prompt_of(self._history, self._options)
        if asked is query_alone:
            return self._evaluate(stacks, samples, query_alone)
        scored: dict[bool, Iterator[Evaluation]] = {}
        for is_base, prompt in ((True, query_alone), (False, asked)):
            alike = [stack for stack in stacks if (stack is None) == is_base]
            scored[is_base] = iter(self._evaluate(alike, samples, prompt) if alike else [])
        return [next(scored[stack is None]) for stack in stacks]

    def examination(self, samples: Sequence[Sample]) -> Examination:
        """What stacks in training are scored on."""
        return Examination(self._context.base, samples, prompt=prompt_of(self._history, self._options), **self._how)

    def memory(self, samples: Sequence[Sample], known: Sequence[Sample]) -> Evaluation:
        """Scores of the base with a memory prompt from the samples that are known by then."""
        prompt = MemoryPrompt(known, self._history.profile, self._options.memory_pairs)
        return self._evaluate([None], samples, prompt)[0]

    def _evaluate(
        self, stacks: Sequence[Stack | None], samples: Sequence[Sample], prompt: Prompting
    ) -> list[Evaluation]:
        return evaluate_stacks(
            self._context.base, stacks, samples, prompt=prompt, should_stop=self._should_stop, **self._how
        )

    @property
    def _how(self) -> _How:
        return {
            "train": self._history.split.train,
            "profile": self._history.profile,
            "max_new_tokens": self._options.max_new_tokens,
            "max_sequence_tokens": self._options.max_sequence_tokens,
        }
