"""`milp import --format`: converted here, then written or sent, with a word on everything left out."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from app.cli.client import ServiceClient
from app.cli.conversions import convert_file
from app.cli.errors import CliError
from app.cli.histories import read_histories
from app.embedded.service import EmbeddedService
from app.importers.formats import NAMES
from app.settings import Settings
from tests.app.cli.service import milp, one_line
from tests.app.importers.files import EXAMPLES, FIXTURES

NOWHERE = ["--url", "http://127.0.0.1:9"]


def table(path: Path, **rows: int) -> Path:
    lines = [f"{user},{user} asks {i}?,Answer {i}." for user, count in rows.items() for i in range(count)]
    path.write_text("\n".join(["user_id,query,response", *lines]) + "\n")
    return path


def test_a_file_is_only_converted_without_a_service_and_what_was_left_out_is_told(tmp_path: Path) -> None:
    arguments = ["--format", "csv", "--out", "out.jsonl"]
    ran = milp("import", str(FIXTURES / "table.csv"), *arguments, *NOWHERE, folder=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [
        "3 samples of 2 users. Users are those of the column user_id, or the one named for the file.",
        "Left out: 1 x column 'score', which is none of query, response, user_id, time, kind, profile (line 1).",
        "Left out: 1 x pair with an empty side (line 6).",
        "Fewer than 20 samples here, without more too few to learn from: 2 of 2.",
        "out.jsonl: 2 users, one a line. Send them with: milp import out.jsonl",
    ]
    mira, tom = read_histories(tmp_path / "out.jsonl")
    assert (mira.user_id, mira.profile, len(mira.samples)) == ("mira", "Bakes on Sundays.", 2)
    assert tom.samples == [{"query": "Is it far?", "response": "Two hours on foot."}]


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("mine")
    ran = milp("import", str(FIXTURES / "table.csv"), "--format", "csv", "--out", "out.jsonl", folder=tmp_path)
    assert (ran.code, ran.err.splitlines()) == (
        1,
        ["milp: out.jsonl is there already. Remove it, or choose another name with --out."],
    )
    assert (tmp_path / "out.jsonl").read_text() == "mine"


def test_a_log_takes_its_annotation_as_second_file_and_its_day_from_its_name(tmp_path: Path) -> None:
    name = "2008-06-03.small"
    log, links = FIXTURES / f"{name}.ascii.txt", FIXTURES / f"{name}.annotation.txt"
    arguments = ["--format", "irc", "--second-file", str(links), "--out", "out.jsonl"]
    assert milp("import", str(log), *arguments, folder=tmp_path).code == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [len(row["samples"]) for row in rows] == [2, 2, 1]
    assert rows[0]["samples"][0]["time"] == "2008-06-03T11:59:00+00:00"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["table.csv", "--out", "x"], "--second-file and --out need --format"),
        (["table.csv", "--second-file", "x"], "--second-file and --out need --format"),
        (["table.csv", "--format", "xml"], "There is no format 'xml'. It is one of milp, openai-chat, csv"),
        (["nothing.csv", "--format", "csv"], "nothing.csv cannot be read (No such file or directory)."),
        (["table.csv", "--format", "csv", "--user", "zoe"], "holds no user 'zoe'. It has: mira, tom."),
        (["malp.json", "--format", "csv"], "line 1 has no column query and no column response"),
        (["openai_chat.jsonl", "--format", "irc"], "The format irc needs a second file: the log's annotation."),
        (["openai_chat.jsonl", "--format", "lamp"], "the text is not JSON"),
    ],
)
def test_what_cannot_be_imported_is_one_line_that_says_why(tmp_path: Path, arguments: list[str], said: str) -> None:
    file, *rest = arguments
    line = one_line(milp("import", str(FIXTURES / file), *rest, *NOWHERE, folder=tmp_path))
    assert said in line
    assert not (tmp_path / "x").exists()


def test_a_name_says_whose_a_file_is_or_whose_of_a_file_are_wanted(tmp_path: Path) -> None:
    def converted(file: str, *names: str, as_format: str = "csv") -> Any:
        return convert_file(as_format, FIXTURES / file, None, names, Settings(_env_file=None))

    one = converted("table.csv", "tom")
    assert [user.name for user in one.users] == ["tom"]
    assert list(one.in_words())[-2:] == [
        "Of these users, 1 asked for.",
        "Fewer than 20 samples here, without more too few to learn from: 1 of 1.",
    ]
    assert [user.name for user in converted("malp.json", "pat", as_format="malp").users] == ["pat"]
    with pytest.raises(CliError, match="holds no user 'pat'"):
        converted("malp.json", "pat", "sam", as_format="malp")
    assert [user.name for user in converted("amazonqa_people.json", "amazon-OTHER", as_format="amazonqa").users] == [
        "amazon-OTHER"
    ]
    with pytest.raises(CliError, match="holds no user 'pat'"):
        converted("amazonqa_people.json", "pat", as_format="amazonqa")


@pytest.mark.parametrize("name", NAMES)
def test_every_format_becomes_a_file_of_histories_that_can_be_read_again(tmp_path: Path, name: str) -> None:
    file, second = EXAMPLES[name]
    arguments = ["--format", name, *(["--second-file", str(FIXTURES / second)] if second else []), "--out", "out.jsonl"]
    ran = milp("import", str(FIXTURES / file), *arguments, *NOWHERE, folder=tmp_path)
    assert ran.code == 0, ran.err
    converted = convert_file(name, FIXTURES / file, second and FIXTURES / second, [], Settings(_env_file=None))
    assert [(history.user_id, history.samples) for history in read_histories(tmp_path / "out.jsonl")] == [
        (history.user_id, history.samples) for history in converted.histories
    ]
    # Each fixture has something that is left out, and that is said.
    assert ran.out.count("Left out: ") == len(converted.imported.dropped) > 0


def test_a_profile_that_a_file_does_not_have_leaves_the_services_as_it_is(tmp_path: Path) -> None:
    (tom,) = convert_file("csv", FIXTURES / "table.csv", None, ["tom"], Settings(_env_file=None)).histories
    assert list(tom.bodies()) == [{"samples": [{"query": "Is it far?", "response": "Two hours on foot."}]}]


def test_converted_histories_are_sent_and_one_refused_does_not_keep_back_the_others(
    service: EmbeddedService, client: ServiceClient, tmp_path: Path
) -> None:
    mark = uuid.uuid4().hex[:8]
    long, short = f"long-{mark}", f"short-{mark}"
    file = table(tmp_path / "t.csv", **{short: 3, long: 24})
    at = ["--format", "csv", "--url", service.url]
    ran = milp("import", str(file), "--personalize", *at, folder=tmp_path)
    (job,) = client.jobs(user_id=long)
    client.cancel(job["id"])
    assert ran.out.splitlines()[1:] == [
        "Fewer than 20 samples here, without more too few to learn from: 1 of 2.",
        f"{long}: 24 samples added, 0 known before, 24 in all; job {job['id']} (milp status {job['id']})",
    ]
    assert (ran.code, ran.err.splitlines()) == (1, [ran.err.strip()])
    assert ran.err.startswith(f"milp: 1 of 2 users were refused. {short}: 3 samples are too few")
    stored = milp("import", str(file), "--no-personalize", *at, folder=tmp_path)
    assert stored.code == 0
    assert f"{short}: 3 samples added" in stored.out
    assert len(client.history(short)) == 3
