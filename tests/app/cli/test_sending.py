"""Histories sent to a service that takes small requests only: in parts where it must be, and all or none where not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli.client import ServiceClient
from app.cli.errors import CliError, RefusedError
from app.cli.histories import History
from app.cli.sending import send_file, send_history
from app.settings import Settings
from tests.app.cli.service import milp, one_line, remember_key
from tests.support.api import Service, pairs, served
from tests.support.keys import KEY

MOST_BYTES = 1500
"""About fifteen of the pairs below."""


@pytest.fixture
def strict(settings: Settings) -> Iterator[Service]:
    """A service without a base model that takes small requests only."""
    small = {"max_body_bytes": MOST_BYTES, "max_sample_chars": 1000, "base_model": str(settings.data_dir / "none")}
    with served(settings.model_copy(update=small)) as service:
        remember_key(service.url, KEY)
        yield service


@pytest.fixture
def client(strict: Service) -> Iterator[ServiceClient]:
    with ServiceClient(strict.url, KEY) as opened:
        yield opened


def stored(client: ServiceClient, user_id: str = "ann") -> list[str]:
    return [sample["query"] for sample in client.history(user_id)]


def asked(samples: list[dict[str, Any]]) -> list[str]:
    return [sample["query"] for sample in samples]


def test_a_history_too_large_for_one_request_goes_in_parts_and_starts_one_job(
    client: ServiceClient, tmp_path: Path
) -> None:
    file = tmp_path / "ann.jsonl"
    file.write_text(json.dumps({"user_id": "ann", "profile": "a cook", "samples": pairs(40)}))
    ran = milp("import", str(file), "--url", client.url, folder=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    (job,) = client.jobs()
    assert ran.out.startswith(f"ann: 40 samples added, 0 known before, 40 in all; job {job['id']}")
    assert stored(client) == asked(pairs(40))
    assert client.user("ann")["profile"] == "a cook"


def test_a_history_that_fits_is_stored_all_or_none(client: ServiceClient) -> None:
    with pytest.raises(CliError, match=r"samples\[9\]: the response is empty"):
        send_history(client, History("ann", "", [*pairs(9), {"query": "q", "response": " "}]), personalize="auto")
    with pytest.raises(RefusedError, match="no user"):
        client.user("ann")


def test_a_part_refused_after_others_says_what_was_stored_and_that_sending_again_is_safe(
    client: ServiceClient,
) -> None:
    wrong = [*pairs(30), {"query": "q" * 1001, "response": "No."}]
    with pytest.raises(CliError) as refused:
        send_history(client, History("ann", "", wrong), personalize="auto")
    said = str(refused.value)
    count = len(stored(client))
    assert 0 < count <= 30
    assert "1001 characters; 1000 is the most" in said
    assert f"of ann, from sample {count + 1} on; {count} samples were stored before it. Sending the same again" in said
    assert list(client.jobs()) == []
    again = send_history(client, History("ann", "", pairs(30)), personalize=False)
    assert (again["added"], again["duplicates"], again["total"]) == (30 - count, count, 30)


def test_a_sample_that_no_request_can_carry_is_named(client: ServiceClient) -> None:
    large = {"query": "q" * 900, "response": "r" * 900}
    with pytest.raises(CliError, match="But sample 1 alone is larger: raise that limit, or leave it out"):
        send_history(client, History("ann", "", [large, *pairs(3)]))
    with pytest.raises(CliError, match=r"But sample 4 alone is larger.* 3 samples were stored before it"):
        send_history(client, History("bob", "", [*pairs(3), large]))


def test_chat_lines_too_large_for_one_request_go_in_parts_and_a_bad_one_is_found(
    client: ServiceClient, tmp_path: Path
) -> None:
    file = tmp_path / "chat.jsonl"
    text = "\n\n".join(map(json.dumps, pairs(40)))
    file.write_text(text)
    ran = milp("import", str(file), "--user", "ann", "--url", client.url, folder=tmp_path)
    assert ran.out.startswith("ann: 40 samples added, 0 known before, 40 in all; job job_"), ran.err
    assert stored(client) == asked(pairs(40))
    assert len(list(client.jobs())) == 1
    file.write_text(f"{text}\n{{oops\n")
    line = one_line(milp("import", str(file), "--user", "bob", "--url", client.url, folder=tmp_path))
    count = len(stored(client, "bob"))
    assert f"from line {2 * count + 1} on; {count} samples were stored before it" in line


def test_a_job_begins_also_where_only_the_last_part_held_nothing_new(client: ServiceClient) -> None:
    send_history(client, History("ann", "", pairs(3, first=37)), personalize=False)
    answer = send_history(client, History("ann", "", pairs(40)), personalize="auto", options={"seed": 5})
    assert (answer["added"], answer["duplicates"], answer["job_skipped"]) == (37, 3, None)
    assert answer["job"]["options"]["seed"] == 5
    again = send_history(client, History("ann", "", pairs(40)), personalize="auto")
    assert (again["added"], again["job_skipped"]["code"]) == (0, "nothing_new")


def test_a_body_of_many_megabytes_is_refused_in_words_and_cut(settings: Settings) -> None:
    changed = {"max_body_bytes": 2**20, "base_model": str(settings.data_dir / "none")}
    samples = [{"query": f"{i} " + "q" * 7000, "response": "r" * 7000} for i in range(600)]
    with served(settings.model_copy(update=changed)) as service, ServiceClient(service.url, KEY) as client:
        assert send_history(client, History("ann", "", samples), personalize=False)["added"] == 600


def test_lines_keep_their_numbers_over_blank_ones(client: ServiceClient) -> None:
    with pytest.raises(CliError, match="line 4: the text is not JSON"):
        send_file(client, "ann", "\n" + json.dumps(pairs(1)[0]) + "\n\n{oops\n\n", "auto")
    with pytest.raises(CliError, match="not one pair"):
        send_file(client, "ann", "\n \n", "auto")
