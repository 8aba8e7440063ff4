"""The fixtures of every format with bytes changed: users whose samples can be kept, or an error that says why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ServiceError
from app.importers.formats import NAMES
from app.importers.milp import as_jsonl
from tests.app.importers.files import LIMITS, fixture, imported
from tests.support.examples import tried

FILES = {
    "milp": ["milp.jsonl"],
    "openai-chat": ["openai_chat.jsonl"],
    "csv": ["table.csv"],
    "lamp": ["lamp4_questions.json"],
    "amazonqa": ["amazonqa.jsonl", "amazonqa_people.json"],
    "malp": ["malp.json"],
    "msp": ["msp.txt", "pchatbot.txt"],
    "irc": ["2008-06-03.small.ascii.txt"],
}
SECOND = {"lamp": "lamp4_outputs.json", "irc": "2008-06-03.small.annotation.txt"}
ODD = [b"\0", b"\xff", b'"', b"\n", b",", b"{}", b"[", b"\t", b"###", b"\\ud800", b"1e400", "\u2028".encode()]
edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 9), st.sampled_from(ODD) | st.binary(max_size=4)), min_size=1, max_size=3
)


def changed(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for place, gone, put in changes:
        at = int(place * len(data))
        data = data[:at] + put + data[at + gone :]
    return data


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), changes=edits)
@tried(25)
def test_a_changed_file_gives_what_can_be_kept_or_an_error(
    name: str, data: st.DataObject, changes: list[tuple[float, int, bytes]]
) -> None:
    source = fixture(data.draw(st.sampled_from(FILES[name]), label="file"))
    second = fixture(SECOND[name]) if name in SECOND else None
    try:
        result = imported(name, changed(source.data, changes), second, user="u")
    except ServiceError:
        return
    for user in result.users:
        assert user.samples
        for sample in user.samples:
            for text in (sample.query, sample.response, sample.kind, user.profile or ""):
                assert b"\0" not in text.encode()
            assert max(len(sample.query), len(sample.response)) <= LIMITS.sample_chars
    again = imported("milp", as_jsonl(result.users))
    assert [user.samples for user in again.users] == [user.samples for user in result.users]
