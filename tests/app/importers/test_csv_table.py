"""Tables: their columns, rows over several lines, and what is told of wrong ones."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidImportError
from app.importers.result import EMPTY
from tests.app.importers.files import dropped, fixture, imported, pairs, times

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40).filter(
    str.strip
)


def test_rows_become_pairs_of_their_user_in_time_order() -> None:
    result = imported("csv", fixture("table.csv"))
    assert pairs(result) == {
        "mira": [("Which flour?", "Spelt."), ("Butter, or oil?", "Butter.\nAlways butter.")],
        "tom": [("Is it far?", "Two hours on foot.")],
    }
    assert times(result, "mira") == ["2026-01-01T10:00:00+00:00", "2026-02-02T00:00:00+00:00"]
    mira, tom = result.users
    assert (mira.samples[1].kind, mira.profile, tom.profile) == ("mail", "Bakes on Sundays.", None)


def test_an_empty_response_and_a_column_of_no_use_are_counted_by_line() -> None:
    assert dropped(imported("csv", fixture("table.csv"))) == {
        "column 'score', which is none of query, response, user_id, time, kind, profile": (1, (1,)),
        EMPTY: (1, (6,)),
    }


def test_a_table_without_users_is_the_named_users() -> None:
    assert pairs(imported("csv", "query,response\na,b\n", user="ann")) == {"ann": [("a", "b")]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1 has no column query and no column response"),
        ("question,response\na,b", "line 1 has no column query. The first line names the columns"),
        ("query;response\na;b", "It has no comma"),
        ("query,response,query\na,b,c", "line 1 names a column twice"),
        ("query,response\na,b", "line 2 names no user"),
        ("user_id,query,response\nu,a,b\n,c,d", "line 3 names no user"),
        ("user_id,query,response\nu,a,b,c", "line 2 has 4 fields where the first has 3"),
        ('user_id,query,response\nu,"a\nb",c\nu,a', "line 4 has 2 fields"),
        ('user_id,query,response\nu,"a"b,c', "line 2 is not CSV"),
        ('user_id,query,response\nu,"a,b', "is not CSV"),
        ("user_id,query,response,time\nu,a,b,yesterday", "line 2: the time is not ISO 8601"),
        (f"user_id,query,response,kind\nu,a,b,{'k' * 33}", "line 2: the kind has 33 characters"),
    ],
)
def test_a_wrong_table_is_told_where_and_what(text: str, said: str) -> None:
    with pytest.raises(InvalidImportError, match=re.escape(said)):
        imported("csv", text)


@pytest.mark.parametrize("between", ["x", "\n"])
def test_only_the_row_of_a_very_long_cell_is_left_out(between: str) -> None:
    # Over the csv module's own limit, 131,072; over several lines, it could not go on behind it.
    long = between.join(["x" * 100_000] * 4)
    result = imported("csv", f'query,response,profile\n"{long}",r,\na,b,"{long}"\nc,d,\n', user="u")
    assert pairs(result) == {"u": [("a", "b"), ("c", "d")]}
    lines = long.count("\n") + 1
    assert dropped(result) == {
        "pair with a side over 200 characters": (1, (2,)),
        "profile over 40 characters; its user was kept without it": (1, (2 + lines,)),
    }


def test_a_very_long_column_name_is_told_by_its_beginning() -> None:
    result = imported("csv", f"query,response,{'n' * 200_000}\na,b,c\n", user="u")
    assert list(dropped(result)) == [
        f"column '{'n' * 64}', which is none of query, response, user_id, time, kind, profile"
    ]


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6))
def test_whatever_a_spreadsheet_quotes_comes_back(rows: list[tuple[str, str]]) -> None:
    written = io.StringIO(newline="")
    csv.writer(written).writerows([("query", "response"), *rows])
    result = imported("csv", written.getvalue(), user="u")
    seen = {(" ".join(q.split()), " ".join(r.split())) for q, r in rows}
    assert set(pairs(result)["u"]) <= set(rows)
    assert len(pairs(result)["u"]) == len(seen)
