"""The baselines that remember in the prompt: a dictionary of past queries, and a short- and long-term memory.

Each is a `Prompting` that shows at most so many remembered items, the same number for both. Knows text only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.history import Sample
from engine.memory import MemoryRetriever
from engine.prompts import Message, messages_for
from engine.words import content_words
from evaluation.measure.people import Side

FACTS_KEPT = 50
"""Of the long-term memory: facts that came up most and latest."""
FACTS_SHOWN = 5
FEWEST_WORDS = 3
"""A sentence with fewer content words says nothing about anyone."""
REHEARSED = 0.5
"""Share of a fact's content words that another text has to hold to have rehearsed it."""
HALF_LIFE = 50
"""Samples after which a mention counts half."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class DictionaryMemory:
    """The pairs whose queries are nearest to this one, nearest last (Madaan and others, 2022, "Memory-assisted prompt
    editing to improve GPT-3 after deployment": a growing dictionary of past queries).

    Args:
        samples: the history, in time order.
        pairs: most pairs shown.
    """

    def __init__(self, samples: Sequence[Sample], profile: str, pairs: int) -> None:
        # Keys are the queries alone; the retriever searches both sides of a pair.
        self._keys = [Sample(sample.query, "") for sample in samples]
        self._pair = dict(zip(map(id, self._keys), samples, strict=True))
        self._retriever = MemoryRetriever(self._keys)
        self._profile, self._pairs = profile, pairs

    def __call__(self, sample: Sample) -> list[Message]:
        near = [self._pair[id(key)] for key in self._retriever.nearest(sample.query, self._pairs)]
        return messages_for(sample.query, profile=self._profile, memory=near)


class ShortAndLongTermMemory:
    """MaLP's memory (Zhang and others, 2023, "LLM-based medical assistant personalization with short- and long-term
    memory coordination"): the latest turn, past turns like this one, and facts about the user.

    Facts are what the user said: sentences of the side of a pair that is theirs. As in the paper's rehearsal, a fact
    that comes up again and lately is kept in long-term memory, and what is like the present query is recalled from it.
    Where the paper has a language model summarise, sentences stay as they are said.

    Args:
        samples: the history, in time order.
        items: most remembered items: one the facts, one the latest turn, the others past turns like the query.
        wrote: the user's side; a patient asks, somebody who helps others answers.
    """

    def __init__(self, samples: Sequence[Sample], profile: str, items: int, wrote: Side = "queries") -> None:
        self._profile = profile
        own = [sample.query if wrote == "queries" else sample.response for sample in samples]
        self._facts = long_term_facts(own)
        self._facts_like = MemoryRetriever([Sample(fact, "") for fact in self._facts])
        shows_facts = items > 0 and bool(self._facts)
        turns = items - shows_facts
        self._shown = FACTS_SHOWN if shows_facts else 0
        self._latest = samples[-1:] if turns > 0 else ()
        self._earlier = MemoryRetriever(samples[:-1])
        self._alike = max(0, turns - 1)

    def __call__(self, sample: Sample) -> list[Message]:
        facts = [found.query for found in self._facts_like.nearest(sample.query, self._shown)]
        known = "\n".join([self._profile.strip(), *facts]).strip()
        pairs = [*self._latest, *self._earlier.nearest(sample.query, self._alike)]
        return messages_for(sample.query, profile=known, memory=pairs)


@dataclass(frozen=True)
class _Fact:
    text: str
    words: frozenset[str]
    said: int


def long_term_facts(texts: Sequence[str]) -> list[str]:
    """Up to `FACTS_KEPT` sentences of the texts, the strongest last: each mention counts the more the later it is.

    Args:
        texts: a user's own, in time order.
    """
    facts: dict[str, _Fact] = {}
    for place, text in enumerate(texts):
        for sentence in _SENTENCE_END.split(text.strip()):
            words = frozenset(content_words(sentence))
            if len(words) >= FEWEST_WORDS:
                facts[sentence.lower()] = _Fact(sentence, words, place)
    mentions = [frozenset(content_words(text)) for text in texts]
    strength = {key: _strength(fact, mentions) for key, fact in facts.items()}
    strongest = sorted(facts, key=lambda key: (strength[key], facts[key].said))
    return [facts[key].text for key in strongest[-FACTS_KEPT:]]


def _strength(fact: _Fact, mentions: Sequence[frozenset[str]]) -> float:
    last = len(mentions) - 1
    return math.fsum(
        0.5 ** ((last - place) / HALF_LIFE)
        for place, words in enumerate(mentions)
        if len(fact.words & words) >= REHEARSED * len(fact.words)
    )
