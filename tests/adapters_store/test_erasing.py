"""Users and versions can be erased."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters_store.errors import AdapterNotFoundError
from adapters_store.folders import Folders
from adapters_store.layout import user_folder
from adapters_store.store import AdapterStore
from tests.adapters_store.stacks import SmallBase, provenance, random_stack, same
from tests.adapters_store.test_folders import everything_in


def test_erasing_a_version_leaves_the_others(store: AdapterStore) -> None:
    gone = store.publish("default", "u", random_stack(seed=1), provenance())
    stays = store.publish("default", "u", random_stack(seed=2), provenance())
    store.erase_version(gone.path)
    store.erase_version(gone.path)
    with pytest.raises(AdapterNotFoundError):
        store.load(gone.path, SmallBase())
    assert same(store.load(stays.path, SmallBase()), random_stack(seed=2))


def test_erasing_a_user_takes_every_version_and_no_one_elses(store: AdapterStore, folders: Folders) -> None:
    for seed in (1, 2):
        store.publish("default", "u", random_stack(seed=seed), provenance())
    kept = [
        store.publish(tenant, user, random_stack(), provenance()).path
        for tenant, user in (("default", "u2"), ("acme", "u"))
    ]
    assert store.erase_user("default", "u") == 2
    assert folders.names(user_folder("default", "u")) == []
    assert all(same(store.load(path, SmallBase()), random_stack()) for path in kept)
    assert store.erase_user("default", "u") == 0


def test_nothing_of_an_erased_user_is_left_on_a_local_disk(tmp_path: Path) -> None:
    store = AdapterStore.open(str(tmp_path))
    store.publish("default", "u", random_stack(), provenance())
    store.erase_user("default", "u")
    assert everything_in(tmp_path) == []
