"""`milp`: the service's own format, a user a line:
`{"user_id", "profile"?, "samples": [{"query", "response", "time"?, "kind"?}]}`.

What the other formats become, see `as_jsonl`. Must not know the service.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.importers.given import Given
from app.importers.result import Collector, Imported, ImportedUser
from app.schemas.common import Time
from engine.history import Sample

_FIELDS = "field that is none of user_id, profile and samples"
_SAMPLE_FIELDS = "field of a sample that is none of query, response, time and kind"


class _Sample(BaseModel):
    model_config = ConfigDict(extra="allow")

    query: str
    response: str
    time: Time | None = None
    kind: str | None = Field(None, min_length=1, max_length=32)


class _Line(BaseModel):
    model_config = ConfigDict(extra="allow")

    user_id: str = Field(min_length=1)
    profile: str | None = None
    samples: list[_Sample]


def read(given: Given) -> Imported:
    """Lines of the same user are one history; their last profile counts."""
    found = Collector(given.limits)
    for number, line in given.file.objects(_Line):
        found.drop(_FIELDS, number, len(line.model_extra or ()))
        if not line.samples and line.profile is None:
            found.drop("user without a sample", number)
        for sample in line.samples:
            found.drop(_SAMPLE_FIELDS, number, len(sample.model_extra or ()))
            found.add(line.user_id, sample.query, sample.response, number, sample.time, sample.kind or "dialogue")
        if line.profile is not None:
            found.profile(line.user_id, line.profile, number)
    return found.result("those that the lines name as `user_id`")


def as_jsonl(users: tuple[ImportedUser, ...]) -> str:
    """Users in the native format, one a line; `read` gives them back."""
    return "".join(json.dumps(_row(user), ensure_ascii=False) + "\n" for user in users)


def _row(user: ImportedUser) -> dict[str, Any]:
    profile = {} if user.profile is None else {"profile": user.profile}
    return {"user_id": user.user_id, **profile, "samples": [sample_row(sample) for sample in user.samples]}


def sample_row(sample: Sample) -> dict[str, Any]:
    """A sample as JSON holds it, without what it would be anyway."""
    row = {"query": sample.query, "response": sample.response}
    if sample.time is not None:
        row["time"] = sample.time.isoformat()
    if sample.kind != "dialogue":
        row["kind"] = sample.kind
    return row
