"""How good answers are: ROUGE-1, ROUGE-L and Persona F1 of one answer, and what a mean over few answers is worth.

All scores run from 0 to 100. Knows text and numbers only: no tensors, no model, no database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from engine.words import RougeTokenizer, content_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 2000
"""Bootstrap resamples: the ends of a 95 % interval then move by about 1 % of its width from seed to seed."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its bootstrap interval, in the unit of the values."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """How two methods compare on the same samples.

    `difference` is mean(a) - mean(b), `low` and `high` its bootstrap interval, `probability` the share of resamples in
    which a is strictly better: two identical lists give 0, never a win.
    """

    difference: float
    low: float
    high: float
    probability: float


@lru_cache(maxsize=1)
def _scorer() -> Any:
    # Loaded on first use: it takes a second.
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rougeL"], tokenizer=RougeTokenizer())


def rouge_1(reference: str, response: str) -> float:
    """ROUGE-1 F of a response, 0..100 (Lin, 2004; rouge-score with the Porter stemmer; words of any script)."""
    return 100.0 * float(_scorer().score(reference, response)["rouge1"].fmeasure)


def rouge_l(reference: str, response: str) -> float:
    """ROUGE-L F of a response, 0..100: the longest common subsequence of words (Lin, 2004)."""
    return 100.0 * float(_scorer().score(reference, response)["rougeL"].fmeasure)


def persona_words(texts: Iterable[str]) -> frozenset[str]:
    """W_u, the content words of a user's train history and profile."""
    return frozenset(word for text in texts for word in content_words(text))


def persona_f1(response: str, persona: frozenset[str]) -> float:
    """Persona F1 of a response, 0..100: how much of what it says is the user's own, and how much of the user it says.

    P = |W_y & W_u| / |W_y|, R = |W_y & W_u| / |W_u| over sets of content words (MiLP, section 4.2). A response or a
    persona without content words scores 0.
    """
    words = frozenset(content_words(response))
    shared = len(words & persona)
    if not shared:
        return 0.0
    precision, recall = shared / len(words), shared / len(persona)
    return 100.0 * 2 * precision * recall / (precision + recall)


def mean_and_se(values: Sequence[float]) -> tuple[float, float]:
    """Mean of the values and its standard error (sample standard deviation over the root of their number).

    Raises:
        ValueError: fewer than two values, which tell nothing about their spread.
    """
    data = _checked(values)
    if data.size < 2:
        raise ValueError("the standard error of a mean needs at least two values, got one")
    return float(data.mean()), float(data.std(ddof=1) / data.size**0.5)


def bootstrap_interval(
    values: Sequence[float], confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean (Efron, 1979). The same values and seed give the same interval.

    Raises:
        ValueError: no values, one that is not finite, or a confidence outside (0, 1).
    """
    data = _checked(values)
    low, high = _percentiles(_resampled_means(data, resamples, seed), confidence)
    return Interval(float(data.mean()), low, high)


def paired_bootstrap(
    a: Sequence[float],
    b: Sequence[float],
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedComparison:
    """Compare two methods on the same samples: a[i] and b[i] are scores of sample i, higher is better (Koehn, 2004).

    Raises:
        ValueError: lists of different length, no values, one that is not finite, or a confidence outside (0, 1).
    """
    if len(a) != len(b):
        raise ValueError(f"a paired comparison needs the same samples on both sides, got {len(a)} and {len(b)}")
    difference = _checked(a) - _checked(b)
    means = _resampled_means(difference, resamples, seed)
    low, high = _percentiles(means, confidence)
    return PairedComparison(float(difference.mean()), low, high, float((means > 0).mean()))


def _checked(values: Sequence[float]) -> NDArray[np.float64]:
    import numpy as np

    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise ValueError("there are no values to average")
    if not np.isfinite(data).all():
        raise ValueError("a score is NaN or infinite; only finite scores can be averaged")
    return data


def _resampled_means(data: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    import numpy as np

    rows = np.random.default_rng(seed).integers(0, data.size, size=(resamples, data.size))
    means: NDArray[np.float64] = data[rows].mean(axis=1)
    return means


def _percentiles(means: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    import numpy as np

    if not 0 < confidence < 1:
        raise ValueError(f"confidence lies between 0 and 1, got {confidence}")
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
