"""`malp`: the medical dialogues of MaLP (Zhang and others, 2024, *LLM-based Medical Assistant Personalization with
Short- and Long-Term Memory Coordination*, NAACL): a JSON list of dialogues, `{"0": {"Assistant", "User"}}` a turn.

The doctor answers the patient. The files say not which patient: users are simulated. Must not know the service.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from app.errors import InvalidImportError
from app.importers.alike import alike_groups
from app.importers.given import Given
from app.importers.reading import parsed
from app.importers.result import TEXTLESS, UNANSWERED, UNASKED, Collector, Imported
from app.importers.turns import Turns, paired

_DOCTOR, _PATIENT = "Assistant", "User"
_ANSWERS = {"doctor": True, "assistant": True, "ai": True, "patient": False, "user": False}
_LABEL = re.compile(rf'\s*"?\s*({"|".join(_ANSWERS)})\s*:\s*', re.IGNORECASE)
_SAMPLES_OF_A_PATIENT = 120
"""Enough to learn from, see the limits in the README."""


def read(given: Given) -> Imported:
    """Each turn of the patient with the doctor's next is a pair.

    Dialogues on alike complaints are gathered into simulated patients of about 120 pairs, unless a user is named: that
    one is then the patient of all.
    """
    dialogues = parsed(given.file.text, "")
    if not isinstance(dialogues, list) or not dialogues:
        raise InvalidImportError("The file is no list of dialogues, each a list of turns.")
    found = Collector(given.limits)
    held = []
    for number, dialogue in enumerate(dialogues, start=1):
        turns = list(_turns(dialogue, number))
        said = [turn for turn in turns if turn[1]]
        found.drop(TEXTLESS, number, len(turns) - len(said))
        held.append(paired(said))
    names = [given.user] * len(held) if given.user else _simulated(held, given.file.data)
    for number, (name, dialogue) in enumerate(zip(names, held, strict=True), start=1):
        for query, response in dialogue.pairs:
            found.add(name, query, response, number)
        found.drop(UNANSWERED, number, dialogue.unanswered)
        found.drop(UNASKED, number, dialogue.unasked)
    return found.result(
        "the one named for the file"
        if given.user
        else "simulated patients: dialogues on alike complaints, for the file says not whose they are",
        "dialogue",
    )


def _simulated(held: list[Turns], data: bytes) -> list[str]:
    """The patient of each dialogue. Their names hold a digest of the file, so that two files' stay apart."""
    texts = [" ".join(query for query, _ in turns.pairs) for turns in held]
    groups = alike_groups(texts, [len(turns.pairs) for turns in held], _SAMPLES_OF_A_PATIENT)
    digest = hashlib.sha256(data).hexdigest()[:6]
    names = {index: f"patient-{digest}-{number:02}" for number, group in enumerate(groups) for index in group}
    return [names[index] for index in range(len(held))]


def _turns(dialogue: object, number: int) -> Iterator[tuple[bool, str]]:
    """(whether the doctor says it, what) in the order it was said: within a turn, the assistant speaks first."""
    if not isinstance(dialogue, list):
        raise InvalidImportError(f"dialogue {number} is not a list of turns.")
    for place, turn in enumerate(dialogue, start=1):
        inner = next(iter(turn.values())) if isinstance(turn, dict) and len(turn) == 1 else turn
        if not isinstance(inner, dict) or not inner.keys() <= {_DOCTOR, _PATIENT}:
            sides: list[object] = [None]
        else:
            sides = [inner.get(_DOCTOR) or "", inner.get(_PATIENT) or ""]
        if not all(isinstance(side, str) for side in sides):
            raise InvalidImportError(
                f'dialogue {number}, turn {place} is not {{"{place - 1}": {{"{_DOCTOR}": ..., "{_PATIENT}": ...}}}}.'
            )
        for doctor, side in zip((True, False), sides, strict=True):
            yield _said(str(side), doctor)


def _said(text: str, doctor: bool) -> tuple[bool, str]:
    """The text without its label and quotes. A label's word counts more than the key's: some dialogues swap them."""
    label = _LABEL.match(text)
    if label is not None:
        doctor, text = _ANSWERS[label[1].lower()], text[label.end() :]
    text = text.strip()
    if text.startswith('"') or text.endswith('"'):
        text = text.removeprefix('"').removesuffix('"').strip()
    return doctor, text
