"""`python -m evaluation.fixed_answers FILE ...`: what one and the same answer to every query scores, without a model.

A floor under the scores, as chance is one under an accuracy: what of a score needs no understanding of a query. Two
answers are made for each user, of what they said before their test part alone: the one past answer that is most like
the others, and a sequence of frequent words, put together for the score and meaning nothing.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from engine.metrics import bootstrap_interval, persona_f1, persona_words, rouge_1, rouge_l
from engine.typical import Likeness, most_typical
from engine.words import words_of
from evaluation.measure.people import Person, read_people
from evaluation.tables.markdown import Table

FREQUENT_WORDS = 40
MOST_WORDS = 20
_LEAST_GAIN = 0.02
"""ROUGE-L points that a further word has to add."""


def most_typical_of(answers: Sequence[str]) -> str:
    """The answer with the highest mean ROUGE-L to the others; the first of equals."""
    # All are, where none is like another.
    return answers[most_typical(answers, 1 / (2 * len(answers)))[0]]


def best_words(answers: Sequence[str]) -> str:
    """Frequent words of the answers in an order that has a high mean ROUGE-L to them: word by word, each where it adds
    most."""
    likeness = [Likeness(words_of(answer)) for answer in answers]
    counts = Counter(word for answer in answers for word in sorted(set(words_of(answer))))
    frequent = [word for word, _ in counts.most_common(FREQUENT_WORDS)]
    said: list[str] = []
    score = 0.0
    while len(said) < MOST_WORDS:
        longer = [[*said[:i], word, *said[i:]] for word in frequent for i in range(len(said) + 1)]
        scores = [fmean(one.of(words) for one in likeness) for words in longer]
        best = max(range(len(longer)), key=scores.__getitem__, default=None)
        if best is None or scores[best] < score + _LEAST_GAIN:
            break
        said, score = longer[best], scores[best]
    return " ".join(said)


MADE: dict[str, Callable[[Sequence[str]], str]] = {
    "The past answer most like the others": most_typical_of,
    "Frequent words in the best order": best_words,
}


def table(name: str, people: Sequence[Person]) -> Table:
    """Scores of both on the users' test parts, as means over users with intervals."""
    rows = []
    for label, make in MADE.items():
        scored = [_scored(person, make([sample.response for sample in person.known])) for person in people]
        means = [bootstrap_interval([score[i] for score in scored]) for i in range(3)]
        rows.append([label, *(f"{of.mean:.2f} ({of.low:.2f} to {of.high:.2f})" for of in means), str(len(people))])
    return Table(
        title=f"One answer to every query: {name}",
        head=["Answer", "ROUGE-1", "ROUGE-L", "Persona F1", "Users"],
        rows=rows,
        note="Made of what a user said before the test part. Means over users, with 95 % bootstrap intervals.",
    )


def _scored(person: Person, answer: str) -> tuple[float, float, float]:
    learned = (text for sample in person.split.train for text in (sample.query, sample.response))
    words = persona_words([person.profile, *learned])
    references = [sample.response for sample in person.split.test]
    ones, longest = (fmean(score(one, answer) for one in references) for score in (rouge_1, rouge_l))
    return ones, longest, persona_f1(answer, words)


def main() -> None:
    """Print a table for each file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="histories in the native format")
    parser.add_argument("--first", type=int, help="so many users of each; default: all")
    told = parser.parse_args()
    for file in told.files:
        print(table(file.stem, read_people(file.stem, [file], told.first)).markdown())


if __name__ == "__main__":
    main()
