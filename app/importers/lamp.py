"""`lamp`: questions of the LaMP benchmark (Salemi and others, 2024, *LaMP: When Large Language Models Meet
Personalization*, ACL), and as second file their outputs.

Tasks 4 to 7 only: what stands in their profiles is written by the user. 1 to 3 ask for a class.
Must not know the service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from app.errors import InvalidImportError
from app.importers.given import Given
from app.importers.reading import Source, parsed
from app.importers.result import UNANSWERED, UNREAD_TIME, Collector, Imported
from app.validation import invalid_input

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Task:
    """How an entry of a profile becomes a pair: LaMP's own question about the one field, answered by the other."""

    number: int
    asks: str
    question: str
    answer: str


_TASKS = (
    _Task(4, "Generate a headline for the following article:", "text", "title"),
    _Task(5, "Generate a title for the following abstract of a paper:", "abstract", "title"),
    _Task(6, "Generate a subject for the following email:", "text", "title"),
    _Task(7, "Paraphrase the following tweet", "text", "text"),
)
_TWEETS = 7
_COMPLETE = "Complete the following tweet:"
_BEGINNING = 0.2
"""Share of a tweet's words that is the question: its profile has tweets alone, so one is asked to go on with each."""


class _Question(BaseModel):
    id: str | int
    input: str
    profile: list[dict[str, Any]]
    user_id: str | int | None = None


class _Gold(BaseModel):
    id: str | int
    output: str


class _Outputs(BaseModel):
    task: str
    golds: list[_Gold]


def read(given: Given) -> Imported:
    """Each entry of a profile is a pair, and the question itself another if its output is there, the last one.

    A user is who `user_id` names (LaMP's time-based data), else the question: each is about another user there.
    """
    questions = _whole(list[_Question], given.file)
    outputs = _whole(_Outputs, given.second) if given.second else None
    task = _task_of(questions, outputs)
    found = Collector(given.limits)
    golds = _golds(outputs, found) if outputs else {}
    for number, question in enumerate(questions, start=1):
        if not question.input.startswith(task.asks):
            raise InvalidImportError(f"question {number} is not of LaMP-{task.number} as the first is. Send one task.")
        user = f"lamp{task.number}-{question.id if question.user_id is None else question.user_id}"
        for place, entry in enumerate(question.profile, start=1):
            _add_entry(found, task, user, entry, number, f"question {number}, profile entry {place}")
        output = golds.get(str(question.id))
        if output is None:
            found.drop(f"{UNANSWERED}, for there is no output of it", number)
        else:
            found.add(user, question.input, output, number)
    asked = {str(question.id) for question in questions}
    if len(asked) < len(questions):
        raise InvalidImportError("Two questions have the same `id`: outputs and users could not be told apart.")
    for number, name in enumerate(golds, start=1):
        if name not in asked:
            found.drop("output whose question is not in the first file, counted in the second", number)
    whose = "who wrote a profile (user_id)" if questions[0].user_id is not None else "questions, each with its profile"
    return found.result(whose, "question")


def _golds(outputs: _Outputs, found: Collector) -> dict[str, str]:
    """Outputs by the question's id; of two of one question the last counts."""
    golds: dict[str, tuple[int, str]] = {}
    for number, gold in enumerate(outputs.golds, start=1):
        earlier, output = golds.get(str(gold.id), (number, gold.output))
        if output != gold.output:
            found.drop("output whose question has a later one, counted in the second file", earlier)
        golds[str(gold.id)] = number, gold.output
    return {name: output for name, (_, output) in golds.items()}


def _add_entry(found: Collector, task: _Task, user: str, entry: dict[str, Any], number: int, place: str) -> None:
    texts = [entry.get(name) for name in (task.question, task.answer)]
    if not all(isinstance(text, str) for text in texts):
        more = " Fill in the texts of the Avocado collection first, as LaMP says." if task.number == 6 else ""
        raise InvalidImportError(f"{place} has no `{task.question}` or no `{task.answer}`.{more}")
    question, answer = map(str, texts)
    asks = task.asks
    if task.number == _TWEETS:
        asks, words = _COMPLETE, question.split()
        cut = max(1, int(len(words) * _BEGINNING))
        if len(words) < 2:
            found.drop("tweet of one word, which cannot be cut in two", number)
            return
        question, answer = " ".join(words[:cut]), " ".join(words[cut:])
    time = _day(entry.get("date"))
    if time is None and entry.get("date") is not None:
        found.drop(UNREAD_TIME, number)
    # An empty text must not hide behind the question put before it.
    query = f"{asks} {question}" if question.strip() else ""
    found.add(user, query, answer, number, time)


def _task_of(questions: list[_Question], outputs: _Outputs | None) -> _Task:
    if not questions:
        raise InvalidImportError("There is no question in this file. It is a list of {id, input, profile}.")
    asked = next((task for task in _TASKS if questions[0].input.startswith(task.asks)), None)
    if asked is None:
        raise InvalidImportError(
            "question 1 is of none of LaMP-4, 5, 6 and 7, of which alone histories can be made: their profiles hold "
            "what the user wrote (headlines, titles, subjects, tweets). LaMP-1, 2 and 3 ask for a class."
        )
    if outputs is not None:
        named = re.search(r"\d{1,9}", outputs.task)
        if named is None or int(named[0]) != asked.number:
            raise InvalidImportError(
                f"second file: its `task` is not LaMP_{asked.number}, which the questions are of. Give their outputs."
            )
    return asked


def _whole(kind: type[_T], file: Source) -> _T:
    raw = parsed(file.text, file.label.rstrip(", "))
    try:
        return TypeAdapter(kind).validate_python(raw, strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        raise invalid_input([dict(d) for d in details], place=file.label.rstrip(", ")) from error


def _day(date: object) -> datetime | None:
    """A year, month or day (`2014`, `2014-05`, `2014-05-23`) as its beginning; None where it is none of them."""
    parts = re.fullmatch(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?(?:[T ].*)?", str(date))
    try:
        return datetime(int(parts[1]), int(parts[2] or 1), int(parts[3] or 1), tzinfo=UTC) if parts else None
    except ValueError:
        return None
