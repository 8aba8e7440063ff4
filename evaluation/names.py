"""The words of an evaluation's tables, plots and report: methods, metrics, search spaces, in the order they are shown.

Knows names only. Must not know a measured number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

METHODS = {
    "base": "Base",
    "dictionary_memory": "Dictionary memory",
    "malp": "MaLP",
    "default_lora": "One default LoRA",
    "default_averaged": "Default LoRA, averaged",
    "random": "Random search",
    "milp": "MiLP",
    "milp_memory": "MiLP + memory prompt",
    "other_user": "Another user's stack",
    "domain_lora": "One LoRA of all other users",
}
"""What a method is called."""

BASELINES = ("base", "dictionary_memory", "malp")
"""What MiLP has to beat: whatever needs no training for a user (the paper's baselines that are measured here).
They draw nothing: measured once, they stand for every seed."""

MEMORIES = ("dictionary_memory", "malp")
"""Methods that put the past into the prompt and so pay for it in tokens."""

CONTROLS = {"other_user": "milp", "domain_lora": "default_lora"}
"""What tells a person from their domain: a stack of somebody else, and one of everybody else. Each by the method that
trains for the person as it does for the others, so that only the person differs."""

SPACES = ("num", "size", "layer", "num+size", "num+layer", "size+layer")
"""The search subspaces of the paper's Table 5; all three together are the standard variant, named ''."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A score of a method.

    Args:
        name: field of a `Row`.
        label: what it is called, with its unit where it is no score of 0..100.
        digits: shown after the point.
        better: +1 where more is better, -1 where less is, 0 where neither is.
    """

    name: str
    label: str
    digits: int
    better: int


ROUGE_1 = Metric("rouge_1", "ROUGE-1", 2, +1)
ROUGE_L = Metric("rouge_l", "ROUGE-L", 2, +1)
PERSONA_F1 = Metric("persona_f1", "Persona F1", 2, +1)
LOSS = Metric("loss", "Loss, nats", 3, -1)
METRICS = (
    ROUGE_1,
    ROUGE_L,
    PERSONA_F1,
    LOSS,
    Metric("length", "Words", 1, 0),
    Metric("distinct_1", "Distinct-1", 3, 0),
    Metric("distinct_2", "Distinct-2", 3, 0),
)


def label(method: str) -> str:
    """What a method is called; a method that is not known here goes by its own name."""
    return METHODS.get(method, method)


def ordered(methods: Iterable[str]) -> list[str]:
    """Each method once, in the order of `METHODS`; unknown ones last, by name."""
    places = {method: place for place, method in enumerate(METHODS)}
    return sorted(set(methods), key=lambda method: (places.get(method, len(places)), method))
