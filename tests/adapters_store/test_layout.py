"""Paths are made of digests and checked ids only."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters_store import layout
from adapters_store.errors import AdapterNotFoundError

VERSION = "v_" + "0" * 32


@given(tenant=st.text(), user_id=st.text())
def test_a_user_folder_is_two_plain_words_whatever_the_ids_are(tenant: str, user_id: str) -> None:
    folder = layout.user_folder(tenant, user_id)
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}/[0-9a-f]{32}", folder)
    assert layout.version_path(tenant, user_id, VERSION) == f"{folder}/{VERSION}"


@given(user_id=st.sampled_from(["../../etc", "alice", "a/b", "..", "%2e%2e", "a\x00b"]))
def test_no_user_id_appears_in_a_path(user_id: str) -> None:
    assert user_id not in layout.version_path("default", user_id, VERSION)


def test_the_boundary_between_tenant_and_user_counts() -> None:
    assert layout.user_digest("a", "bc") != layout.user_digest("ab", "c")
    assert layout.user_digest("a", "b") == layout.user_digest("a", "b")


def test_tenants_that_differ_in_case_or_look_like_digests_stay_apart() -> None:
    digest = layout.user_folder("Acme", "u").split("/")[0]
    folders = {layout.user_folder(tenant, "u").split("/")[0] for tenant in ("acme", "Acme", "ACME", digest)}
    assert len(folders) == 4
    assert len({folder.lower() for folder in folders}) == 4


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        f"../{'0' * 32}/{VERSION}",
        f"default/../{VERSION}",
        f"default/{'0' * 32}/{VERSION}/..",
        f"default/{'0' * 32}/{VERSION}\n",
        f"default/{'0' * 32}/v_short",
        f"default/{'0' * 32}/{VERSION}/stack.json",
        f"default/{VERSION}",
    ],
)
def test_only_a_versions_own_path_is_taken_for_one(path: str) -> None:
    with pytest.raises(AdapterNotFoundError, match="no path of a version"):
        layout.checked_version_path(path)
