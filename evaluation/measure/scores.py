"""How well something answers a person's test part: all of a row's scores from one evaluation by the engine.

Must not know methods or searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from app.settings import Settings
from engine.base import Base
from engine.evaluation import Evaluation, evaluate_stacks
from engine.prompts import Prompting
from engine.stack import Stack
from evaluation.measure.people import Person


def answer_test(base: Base, stack: Stack | None, prompt: Prompting, person: Person, settings: Settings) -> Evaluation:
    """The answers to the person's test part, as long as the service lets them be, with their scores."""
    return evaluate_stacks(
        base,
        [stack],
        person.split.test,
        train=person.split.train,
        profile=person.profile,
        max_new_tokens=settings.max_new_tokens,
        max_sequence_tokens=settings.max_sequence_tokens,
        prompt=prompt,
    )[0]


def summarised(evaluation: Evaluation) -> dict[str, float]:
    """The means of a row, by their names there."""
    return {
        "rouge_1": fmean(evaluation.rouge_1),
        "rouge_l": fmean(evaluation.rouge_l),
        "persona_f1": fmean(evaluation.persona_f1),
        "loss": fmean(evaluation.loss),
        "length": fmean(len(response.split()) for response in evaluation.responses),
        "distinct_1": distinct(evaluation.responses, 1),
        "distinct_2": distinct(evaluation.responses, 2),
    }


def distinct(responses: Sequence[str], n: int) -> float:
    """Share of unlike n-grams among all n-grams of the responses, 0..1 (Li and others, 2016, "A diversity-promoting
    objective function for neural conversation models"); 0 where there are none."""
    grams = [
        tuple(words[i : i + n]) for words in (r.lower().split() for r in responses) for i in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0


def prompt_tokens(base: Base, prompt: Prompting, person: Person, settings: Settings) -> float:
    """Mean tokens of the prompts of the test part, cut as they are for answering."""
    room = base.context_length - settings.max_new_tokens
    return fmean(len(base.format.prompt_ids(prompt(s), room, cut=True)) for s in person.split.test)
