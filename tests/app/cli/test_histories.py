"""History files: what is read, and what each wrong line is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.errors import CliError
from app.cli.histories import History, choose, names_no_user, read_histories
from app.importers.names import valid_user_id

PAIR = {"query": "How are you?", "response": "Fine."}
ACCEPTED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_@:-]{0,127}")


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_file_of_several_users_is_read_with_profiles_times_and_kinds(tmp_path: Path) -> None:
    timed = {**PAIR, "time": "2008-06-03 11:08", "kind": "email"}
    file = write(
        tmp_path / "histories.jsonl",
        {"user_id": "anna", "profile": "Likes tea.", "samples": [PAIR, timed]},
        {"user_id": "ben", "samples": [{**PAIR, "time": "2026-11-03T18:30:00+01:00"}]},
    )
    anna, ben = read_histories(file)
    assert (anna.user_id, anna.profile, ben.user_id, ben.profile) == ("anna", "Likes tea.", "ben", "")
    assert anna.samples == [PAIR, {**PAIR, "kind": "email", "time": "2008-06-03T11:08:00+00:00"}]
    assert ben.samples[0]["time"] == "2026-11-03T18:30:00+01:00"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"samples": [PAIR]}, 'line 1 has no "user_id"'),
        ({"user_id": "anna", "samples": []}, '"samples" is not a list'),
        ({"user_id": "anna", "samples": [PAIR, {"query": "only"}]}, 'sample 2 needs "query" and "response"'),
        ({"user_id": "anna", "samples": [{**PAIR, "time": "yesterday"}]}, "'yesterday' is not a time"),
        ({"user_id": "anna", "samples": [{**PAIR, "time": 12}]}, "12 is not a time"),
        ({"user_id": "anna", "profile": 7, "samples": [PAIR]}, '"profile" is not a text'),
        ([PAIR], "line 1 is not a JSON object"),
    ],
)
def test_a_wrong_line_is_named_with_what_is_wrong(tmp_path: Path, row: Any, said: str) -> None:
    with pytest.raises(CliError, match=re.escape(said)):
        read_histories(write(tmp_path / "histories.jsonl", row))


def test_broken_json_is_named_by_its_line(tmp_path: Path) -> None:
    file = write(tmp_path / "histories.jsonl", {"user_id": "anna", "samples": [PAIR]})
    file.write_text(file.read_text() + "\n{oops\n")
    with pytest.raises(CliError, match="line 3 is not JSON"):
        read_histories(file)


def test_a_file_that_is_not_utf8_is_refused_with_the_place(tmp_path: Path) -> None:
    file = tmp_path / "latin.jsonl"
    file.write_bytes('{"user_id": "zoë"}'.encode("latin-1"))
    with pytest.raises(CliError, match=r"not UTF-8 \(byte 15\)"):
        read_histories(file)


def test_an_empty_file_and_a_user_in_two_lines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="is empty"):
        read_histories(write(tmp_path / "empty.jsonl"))
    anna = {"user_id": "anna", "samples": [PAIR]}
    with pytest.raises(CliError, match="'anna' in more than one line"):
        read_histories(write(tmp_path / "twice.jsonl", anna, anna))


def test_separators_inside_a_text_do_not_end_a_line(tmp_path: Path) -> None:
    odd = {"query": "a\u2028b\x85c", "response": "d"}
    file = tmp_path / "odd.jsonl"
    file.write_text(json.dumps({"user_id": "anna", "samples": [odd]}, ensure_ascii=False), encoding="utf-8")
    assert read_histories(file)[0].samples == [odd]


def test_users_are_chosen_by_the_names_of_the_file_in_the_order_asked(tmp_path: Path) -> None:
    histories = [History(name, "", [PAIR]) for name in ("anna", "ben", "cleo")]
    assert [h.name for h in choose(histories, ["cleo", "anna", "cleo"], "f")] == ["cleo", "anna"]
    assert choose(histories, [], "f") == histories
    with pytest.raises(CliError, match=r"f holds no user 'dora'. It has: anna, ben, cleo"):
        choose(histories, ["dora"], "f")


def test_a_long_list_of_users_is_cut_in_messages() -> None:
    histories = [History(f"u{i}", "", [PAIR]) for i in range(30)]
    with pytest.raises(CliError, match=r"u11 and 18 more\."):
        choose(histories, ["nobody"], "f")


@given(st.text(min_size=1, max_size=300))
def test_every_name_becomes_an_id_that_the_service_accepts(name: str) -> None:
    made = valid_user_id(name)
    assert ACCEPTED.fullmatch(made)
    if ACCEPTED.fullmatch(name) and len(name) <= 100:
        assert made == name


def test_names_that_differ_only_in_refused_characters_stay_apart() -> None:
    assert len({valid_user_id(name) for name in ("u/anna", "u.anna", "u-anna", "u anna")}) == 4


def test_a_history_of_many_megabytes_is_one_request_and_so_stored_all_or_none() -> None:
    samples = [{"query": "q" * 1400, "response": str(i)} for i in range(20_000)]
    assert list(History("anna", "Likes tea.", samples).bodies()) == [{"samples": samples, "profile": "Likes tea."}]


def test_what_no_request_can_carry_goes_in_several_and_the_profile_only_in_the_first() -> None:
    samples = [{"query": "\N{EURO SIGN}" * 6000, "response": str(i)} for i in range(2000)]  # three bytes a character
    bodies = list(History("anna", "Likes tea.", samples).bodies())
    assert [sample for body in bodies for sample in body["samples"]] == samples
    assert ["profile" in body for body in bodies] == [True, False]
    sizes = [len(httpx.Request("POST", "http://milp", json=body).content) for body in bodies]
    assert max(sizes) <= 30 * 2**20


def test_jsonl_that_names_no_user_is_told_from_histories(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert names_no_user(write(tmp_path / "chat.jsonl", {"messages": messages}))
    assert names_no_user(write(tmp_path / "pairs.jsonl", PAIR))
    assert not names_no_user(write(tmp_path / "users.jsonl", {"user_id": "anna", "samples": [PAIR]}))
    assert not names_no_user(write(tmp_path / "empty.jsonl"))
