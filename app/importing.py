"""Histories as they come in, turned into samples: JSON with pairs, or JSONL with pairs or OpenAI conversations.

Every error says where: the sample's number, or the line. Knows no HTTP and no database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from app.errors import EmptyHistoryError, InvalidInputError, SampleTooLongError, TooManySamplesError
from app.importers.reading import Source, decoded, parsed, validated
from app.importers.turns import paired
from app.job_options import JobOptions
from app.schemas.common import PlainText, without_nul
from app.schemas.history import BesideSamples, ChatLineIn, ChatMessageIn, ConversationIn, HistoryIn, SampleIn
from app.settings import Settings
from engine.history import Sample


@dataclass(frozen=True, slots=True)
class Import:
    """What a request wants to be learned.

    Args:
        samples: in the order they came; at least one.
        profile: None leaves the user's profile as it is.
        personalize: "auto", or whether to start a job.
    """

    samples: list[Sample]
    profile: str | None = None
    personalize: Literal["auto"] | bool = "auto"
    options: JobOptions | None = None


class Importer:
    """Reads histories within the limits of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def from_json(self, body: bytes) -> Import:
        """A body of `HistoryIn`, or of `ConversationIn`.

        Raises:
            InvalidEncodingError, InvalidJsonError, InvalidInputError, EmptyHistoryError, SampleTooLongError,
            TooManySamplesError
        """
        raw = parsed(decoded(body), "")
        if isinstance(raw, dict) and isinstance(raw.get("samples"), list):
            # Counted before each of them is looked at.
            self._check_count(len(raw["samples"]))
        if isinstance(raw, dict) and "messages" in raw:
            return self._conversation(validated(ConversationIn, raw, ""))
        given = validated(HistoryIn, raw, "")
        samples = [Sample(s.query, s.response, s.time, s.kind) for s in given.samples]
        for index, sample in enumerate(samples):
            self._check_sample(sample, f"samples[{index}]")
        return self._checked(_import(samples, given), "samples")

    def from_jsonl(
        self,
        body: bytes,
        *,
        profile: str | None = None,
        personalize: Literal["auto"] | bool = "auto",
        options: JobOptions | None = None,
    ) -> Import:
        """Lines of `{"messages": [...]}` (OpenAI chat) or `{"query", "response"}`, each with time and kind if known.

        Blank lines do not count. Raises as `from_json`, with the line's number.
        """
        samples: list[Sample] = []
        for number, line in Source(body).lines():
            for sample in _line_samples(line, f"line {number}"):
                self._check_sample(sample, f"line {number}")
                samples.append(sample)
            self._check_count(len(samples))
        return self._checked(Import(samples, profile, personalize, options), "file")

    def _conversation(self, given: ConversationIn) -> Import:
        samples = _chat_samples(given, "")
        self._check_count(len(samples))
        for sample in samples:
            self._check_sample(sample, "messages")
        return self._checked(_import(samples, given), "samples")

    def _checked(self, history: Import, what: str) -> Import:
        if not history.samples:
            raise EmptyHistoryError(
                f"There is not one pair of query and response in these {what}. Send at least one; "
                f"a job needs {self._settings.min_history_samples}."
                if what == "samples"
                else "There is not one pair of query and response in this file. Each line is a JSON object with "
                "`query` and `response`, or with `messages`."
            )
        if history.profile is not None:
            _check_text(history.profile, "profile")
            if len(history.profile) > self._settings.max_profile_chars:
                raise InvalidInputError(
                    f"profile: {len(history.profile)} characters are too many; "
                    f"{self._settings.max_profile_chars} is the most (MILP_MAX_PROFILE_CHARS)."
                )
        return history

    def _check_count(self, count: int) -> None:
        limit = self._settings.max_history_samples
        if count > limit:
            raise TooManySamplesError(
                f"At most {limit} samples are kept per user (MILP_MAX_HISTORY_SAMPLES). Send the latest of them. "
                "Nothing was added."
            )

    def _check_sample(self, sample: Sample, place: str) -> None:
        limit = self._settings.max_sample_chars
        for side, text in (("query", sample.query), ("response", sample.response)):
            if not text.strip():
                raise EmptyHistoryError(
                    f"{place}: the {side} is empty. A sample needs both sides: what was asked, and the answer."
                )
            if len(text) > limit:
                raise SampleTooLongError(
                    f"{place}: the {side} has {len(text)} characters; {limit} is the most (MILP_MAX_SAMPLE_CHARS)."
                )


def job_options_from(text: str) -> JobOptions:
    """Job options that came as JSON text in a form.

    Raises:
        InvalidJsonError, InvalidInputError
    """
    return validated(JobOptions, parsed(text, "options"), "options")


def _import(samples: list[Sample], given: BesideSamples) -> Import:
    return Import(samples, given.profile, given.personalize, given.options)


def _line_samples(line: str, place: str) -> Iterator[Sample]:
    raw = parsed(line, place)
    if isinstance(raw, dict) and "messages" in raw:
        yield from _chat_samples(validated(ChatLineIn, raw, place), place)
    else:
        pair = validated(SampleIn, raw, place)
        yield Sample(pair.query, pair.response, pair.time, pair.kind)


def _chat_samples(line: ChatLineIn, place: str) -> list[Sample]:
    """Each run of user turns with the assistant's turn after it. System and tool turns are not the user's to learn."""
    turns: list[tuple[bool, str]] = []
    for index, message in enumerate(line.messages):
        text = _message_text(message, f"{place}: messages[{index}]" if place else f"messages[{index}]")
        if message.role in ("user", "assistant"):
            turns.append((message.role == "assistant", text))
    samples = [Sample(query, response, line.time, line.kind) for query, response in paired(turns).pairs]
    if not samples:
        raise EmptyHistoryError(
            f"{place + ': ' if place else ''}the conversation has no user turn that an assistant turn answers. "
            "A sample needs both sides."
        )
    return samples


def _message_text(message: ChatMessageIn, place: str) -> str:
    if message.content is None:
        return ""
    if isinstance(message.content, str):
        _check_text(message.content, f"{place}.content")
        return message.content
    texts: Sequence[object] = [part.get("text") for part in message.content if part.get("type") == "text"]
    if len(texts) != len(message.content) or not all(isinstance(text, str) for text in texts):
        raise InvalidInputError(f"{place}.content: only parts of type text can be learned from.")
    joined = "".join(map(str, texts))
    _check_text(joined, f"{place}.content")
    return joined


def _check_text(text: PlainText, place: str) -> None:
    try:
        without_nul(text)
    except ValueError as error:
        raise InvalidInputError(f"{place}: {error}") from error
