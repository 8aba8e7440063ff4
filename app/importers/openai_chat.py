"""`openai-chat`: OpenAI's chat JSONL, a conversation of `messages` a line, with the `user` where a file holds several.

Must not know the service: `app.importing` reads the same lines of one user strictly; here what is of no use is counted.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from app.errors import InvalidImportError
from app.importers.given import Given
from app.importers.result import TEXTLESS, UNANSWERED, UNASKED, Collector, Imported
from app.importers.turns import paired
from app.schemas.common import Time

_FIELDS = "field of a line that is none of messages, user, time and kind"


class _Message(BaseModel):
    role: str
    content: str | list[dict[str, object]] | None = None
    weight: float | int | None = None
    """0: not to be learned (OpenAI's fine-tuning format)."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="allow")

    messages: list[_Message]
    user: str | None = Field(None, min_length=1)
    time: Time | None = None
    kind: str = Field("dialogue", min_length=1, max_length=32)


def read(given: Given) -> Imported:
    """Each run of user turns with the assistant's next is a pair. System and tool turns are nobody's to learn."""
    found = Collector(given.limits)
    for number, line in given.file.objects(_Line):
        user = line.user or given.user
        if user is None:
            raise InvalidImportError(f"{given.file.at(number)} names no `user`. {given.how_to_name_one}")
        found.drop(_FIELDS, number, len(line.model_extra or ()))
        if not line.messages:
            found.drop("conversation without a turn", number)
        turns: list[tuple[bool, str]] = []
        for message in line.messages:
            text = _text(message)
            if message.role not in ("user", "assistant"):
                found.drop("turn of a role that is neither user nor assistant", number)
            elif text is None:
                found.drop("turn that is not text", number)
            elif not text.strip():
                found.drop(TEXTLESS, number)
            elif message.role == "assistant" and message.weight == 0:
                # Nor does what it answers belong to the answer after it.
                while turns and not turns[-1][0]:
                    turns.pop()
                found.drop("answer of weight 0, which is not to be learned, with what it answers", number)
            else:
                turns.append((message.role == "assistant", text))
        held = paired(turns)
        for query, response in held.pairs:
            found.add(user, query, response, number, line.time, line.kind)
        found.drop(UNANSWERED, number, held.unanswered)
        found.drop(UNASKED, number, held.unasked)
    return found.result("those that the lines name as `user`, or the one named for the file")


def _text(message: _Message) -> str | None:
    if message.content is None or isinstance(message.content, str):
        return message.content
    texts = [part.get("text") for part in message.content if part.get("type") == "text"]
    if len(texts) != len(message.content):
        return None
    return "".join(text for text in texts if isinstance(text, str))
