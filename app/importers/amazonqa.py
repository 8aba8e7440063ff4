"""`amazonqa`: questions about products and their answers: AmazonQA (Gupta and others, 2019, IJCAI), and the data it was
made of (Wan and McAuley, 2016, ICDM), which say who asked and who answered.

Must not know the service.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.errors import InvalidImportError, InvalidJsonError
from app.importers.given import Given
from app.importers.reading import Source, parsed, utc_time
from app.importers.result import UNANSWERED, UNREAD_TIME, Collector, Imported

_DATES = ("%b %d, %Y", "%B %d, %Y")
_MOST_SECONDS = 10**12
"""Far beyond the year 9999, the last that a datetime can have."""
_REVIEWS = ("review_snippets", "reviews")
_PRODUCT = ("title", "description", "product")


@dataclass(frozen=True, slots=True)
class _Answer:
    line: int
    product: str
    asker: str | None
    answerer: str | None
    query: str
    response: str
    time: datetime | None


def read(given: Given) -> Imported:
    """Each answer is a pair, of the one who gave it where the file says who (answererID), else of the one who asked
    (askerID), else of the product (asin), whose text is then the profile. Reviews answer no question."""
    found = Collector(given.limits)
    rows = [_Row(fields, given.file.at(number), number) for number, fields in _objects(given.file)]
    answers = [answer for row in rows for answer in _answers(row, found)]
    by_answerer = any(answer.answerer for answer in answers)
    by_asker = not by_answerer and any(answer.asker for answer in answers)
    for answer in answers:
        who = answer.answerer if by_answerer else answer.asker if by_asker else answer.product
        if who:
            found.add(_user(who), answer.query, answer.response, answer.line, answer.time)
        else:
            found.drop("answer that says not whose it is", answer.line)
    for row in rows:
        _use_product(row, found, users_are_products=not (by_answerer or by_asker))
    if by_answerer:
        return found.result("people who answered (answererID)")
    return found.result("people who asked (askerID)" if by_asker else "products (asin), for nobody is named")


def _user(who: str) -> str:
    return f"amazon-{who}"


@dataclass(frozen=True, slots=True)
class _Row:
    """An object of the file, whose fields may be named in several ways."""

    fields: dict[str, Any]
    place: str
    number: int

    def text(self, *names: str) -> str | None:
        value = next((self.fields[name] for name in names if self.fields.get(name) is not None), None)
        if value is not None and not isinstance(value, str):
            raise InvalidImportError(f"{self.place}: `{names[0]}` is not a text.")
        return value

    def paragraphs(self, name: str) -> str | None:
        """A text, or a list of texts as the metadata of 2018 has it, one a line."""
        value = self.fields.get(name)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return "\n".join(item for item in value if item.strip())
        return self.text(name)

    def rows(self, name: str) -> list[_Row] | None:
        value = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise InvalidImportError(f"{self.place}: `{name}` is not a list.")
        texts = [{"answerText": item} if isinstance(item, str) else item for item in value]
        if not all(isinstance(item, dict) for item in texts):
            raise InvalidImportError(f"{self.place}: `{name}` holds something that is no object.")
        return [_Row(item, self.place, self.number) for item in texts]


def _answers(row: _Row, found: Collector) -> Iterator[_Answer]:
    product = row.text("asin")
    if not product:
        raise InvalidImportError(f"{row.place} has no `asin`, the product that the question is about.")
    for question in row.rows("questions") or [row]:
        query = question.text("questionText", "question")
        if query is None:
            raise InvalidImportError(f"{row.place} has no `questionText`, `question` or `questions`.")
        given = question.rows("answers")
        answers = [question] if given is None and question.text("answer") is not None else given or []
        if not answers:
            found.drop(UNANSWERED, row.number)
        for answer in answers:
            yield _Answer(
                row.number,
                product,
                question.text("askerID"),
                answer.text("answererID"),
                query,
                answer.text("answerText", "answer") or "",
                _time(answer, found),
            )


def _use_product(row: _Row, found: Collector, *, users_are_products: bool) -> None:
    for name in _REVIEWS:
        reviews = row.fields.get(name)
        found.drop("review, which answers no question", row.number, len(reviews) if isinstance(reviews, list) else 0)
    about = "\n".join(text for name in _PRODUCT if (text := row.paragraphs(name)))
    if about and users_are_products:
        found.profile(_user(row.text("asin") or ""), about, row.number)
    elif about:
        found.drop("text of a product, where users are people", row.number)


def _time(answer: _Row, found: Collector) -> datetime | None:
    seconds, day = answer.fields.get("unixTime"), answer.text("answerTime")
    time = _of_seconds(seconds) or (None if day is None else _of_day(day))
    if time is None and (seconds is not None or day is not None):
        found.drop(UNREAD_TIME, answer.number)
    return time


def _of_seconds(seconds: object) -> datetime | None:
    # Tools that hold a column with gaps as floats write whole seconds as 1375574400.0.
    if isinstance(seconds, float) and seconds.is_integer():
        seconds = int(seconds)
    # A Python dict may have a number in hex of more digits than Python turns into text.
    if isinstance(seconds, int) and abs(seconds) <= _MOST_SECONDS:
        return utc_time(str(seconds))
    return utc_time(seconds) if isinstance(seconds, str) else None


def _of_day(day: str) -> datetime | None:
    for pattern in _DATES:
        try:
            return datetime.strptime(day, pattern).replace(tzinfo=UTC)
        except ValueError:
            continue
    return utc_time(day)


def _objects(file: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in file.lines():
        row = _object(line, file.at(number))
        if not isinstance(row, dict):
            raise InvalidImportError(f"{file.at(number)} is not an object. Each line is one question or product.")
        yield number, row


def _object(line: str, place: str) -> Any:
    """JSON; or what Python prints of a dict, as the data of 2016 is written."""
    try:
        return parsed(line, place)
    except InvalidJsonError:
        if not line.lstrip().startswith("{'"):
            raise
    try:
        return ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise InvalidImportError(f"{place} is neither JSON nor a Python dict of plain values.") from error
