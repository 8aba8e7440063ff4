"""The memory prompt, and its retriever: which past pairs of a user are nearest to a query (BM25).

Knows text only: no tensors, no model, no database.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from engine.history import Sample
from engine.prompts import Message, messages_for
from engine.words import content_words


class MemoryRetriever:
    """Finds the nearest pairs in one user's history.

    Args:
        samples: the user's history in time order, oldest first. Queries and responses are both searched.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        # Loaded here: bm25s brings numpy, and jax where that is installed.
        from bm25s import BM25

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets DEBUG for itself when imported
        self._samples = tuple(samples)
        words = [content_words(f"{sample.query}\n{sample.response}") for sample in self._samples]
        self._index = BM25(method="lucene", k1=1.5, b=0.75) if any(words) else None
        if self._index is not None:
            self._index.index(words, show_progress=False)

    def nearest(self, query: str, k: int) -> list[Sample]:
        """The k pairs most similar to `query`, the most similar last, so that it stands next to the query in a prompt.

        Equally similar pairs count by recency, so a query without any known word gets the k latest pairs. All pairs
        come back where there are no more than k, none where there is no history.
        """
        if k <= 0 or not self._samples:
            return []
        scores = self._scores(query)
        order = sorted(range(len(self._samples)), key=lambda index: (scores[index], index))
        return [self._samples[index] for index in order[-k:]]

    def _scores(self, query: str) -> list[float]:
        words = content_words(query)
        if self._index is None or not words:
            return [0.0] * len(self._samples)
        scores: list[float] = self._index.get_scores(words).tolist()
        return scores


class MemoryPrompt:
    """Puts a sample's query after the user's profile and the nearest pairs of the history (a `Prompting`).

    A sample of that very history never sees itself: trained so, a stack would learn to copy.

    Args:
        samples: the history that is remembered, in time order.
        pairs: most pairs shown.
    """

    def __init__(self, samples: Sequence[Sample], profile: str, pairs: int) -> None:
        self._retriever = MemoryRetriever(samples)
        self._known = {id(sample) for sample in samples}
        self._samples = tuple(samples)  # keeps the ids above from being used again
        self._profile, self._pairs = profile, pairs

    def __call__(self, sample: Sample) -> list[Message]:
        near = self._retriever.nearest(sample.query, self._pairs + (id(sample) in self._known))
        others = [pair for pair in near if pair is not sample][-self._pairs :] if self._pairs else []
        return messages_for(sample.query, profile=self._profile, memory=others)
