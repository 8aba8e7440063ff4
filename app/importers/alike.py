"""Texts gathered into groups of texts about alike things, the same on every run. Knows words only."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

_WORD = re.compile(r"[^\W\d_]{3,}")
_TOO_COMMON = 0.2
"""Share of the texts from which a word tells nothing about one of them."""


def alike_groups(texts: Sequence[str], weights: Sequence[int], enough: int) -> list[list[int]]:
    """Indices of the texts in groups, each in order.

    The first text that is left begins a group; those most like it (cosine of their TF-IDF) join until their weights
    come to `enough`. What would be less than half of that at the end joins the group before it.
    """
    vectors = _tf_idf(texts)
    holding: defaultdict[str, list[int]] = defaultdict(list)
    for index, vector in enumerate(vectors):
        for word in vector:
            holding[word].append(index)
    left = dict.fromkeys(range(len(texts)))
    groups: list[list[int]] = []
    while left:
        seed = next(iter(left))
        likeness: defaultdict[int, float] = defaultdict(float)
        for word, value in vectors[seed].items():
            for index in holding[word]:
                likeness[index] += value * vectors[index][word]
        group, weight = [seed], weights[seed]
        del left[seed]
        for index in sorted(left, key=lambda i: (-likeness[i], i)):
            if weight >= enough:
                break
            group.append(index)
            weight += weights[index]
            del left[index]
        if groups and weight * 2 < enough:
            groups[-1] += group
        else:
            groups.append(group)
    return [sorted(group) for group in groups]


def _tf_idf(texts: Sequence[str]) -> list[dict[str, float]]:
    counts = [Counter(_WORD.findall(text.lower())) for text in texts]
    texts_with = Counter(word for count in counts for word in count)
    most = max(2.0, len(texts) * _TOO_COMMON)
    vectors = []
    for count in counts:
        vector = {
            word: (1 + math.log(times)) * math.log(len(texts) / texts_with[word])
            for word, times in count.items()
            if 1 < texts_with[word] <= most
        }
        length = math.sqrt(sum(value * value for value in vector.values())) or 1.0
        vectors.append({word: value / length for word, value in vector.items()})
    return vectors
