"""Trials wait in the store until their job publishes; users, versions and trials can be erased."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters_store.errors import AdapterCorruptError, AdapterNotFoundError
from adapters_store.folders import Folders
from adapters_store.layout import WEIGHTS_FILE, user_folder
from adapters_store.store import AdapterStore
from engine.configuration import Configuration
from engine.errors import StackMismatchError
from tests.adapters_store.stacks import SmallBase, projections, provenance, random_stack, same
from tests.adapters_store.test_folders import everything_in


def test_a_trial_comes_back_bit_for_bit(store: AdapterStore) -> None:
    path = store.save_trial("default", "u", "job_1", 3, random_stack())
    assert same(store.load_trial(path, SmallBase()), random_stack())
    assert store.save_trial("default", "u", "job_1", 3, random_stack()) == path


def test_two_workers_that_ran_one_trial_do_not_overwrite_each_other(store: AdapterStore) -> None:
    late, rightful = random_stack(seed=1), random_stack(seed=2)
    paths = [store.save_trial("default", "u", "job_1", 3, stack) for stack in (rightful, late)]
    assert same(store.load_trial(paths[0], SmallBase()), rightful)
    assert same(store.load_trial(paths[1], SmallBase()), late)


def test_a_damaged_trial_is_refused(store: AdapterStore, folders: Folders) -> None:
    path = store.save_trial("default", "u", "job_1", 3, random_stack())
    files = {name: folders.read(f"{path}/{name}") for name in folders.names(path)}
    folders.remove(path)
    folders.write(path, {**files, WEIGHTS_FILE: files[WEIGHTS_FILE][:-4]})
    with pytest.raises(AdapterCorruptError, match="is damaged"):
        store.load_trial(path, SmallBase())


def test_a_trial_does_not_load_onto_a_base_of_other_shapes(store: AdapterStore) -> None:
    path = store.save_trial("default", "u", "job_1", 3, random_stack())
    with pytest.raises(StackMismatchError, match="has shape"):
        store.load_trial(path, SmallBase(projections=projections(2, d_hidden=11)))


def test_the_base_is_no_trial_to_keep(store: AdapterStore) -> None:
    with pytest.raises(StackMismatchError, match="is the base itself"):
        store.save_trial("default", "u", "job_1", 0, type(random_stack())(Configuration.base(2), {}, {}))


def test_dropping_trials_takes_those_named_and_none_of_other_jobs(store: AdapterStore) -> None:
    paths = {
        (job, number): store.save_trial("default", "u", job, number, random_stack(seed=number))
        for job in ("job_1", "job_1-b")
        for number in (1, 2, 12)
    }
    store.drop_trials("default", "u", "job_1", {1, 12, 99})
    store.drop_trials("default", "u", "job_1", set())
    for (job, number), path in paths.items():
        if job == "job_1" and number != 2:
            with pytest.raises(AdapterNotFoundError):
                store.load_trial(path, SmallBase())
        else:
            assert same(store.load_trial(path, SmallBase()), random_stack(seed=number))
    store.drop_trials("default", "u", "job_1")
    store.drop_trials("default", "u", "job_1")
    with pytest.raises(AdapterNotFoundError):
        store.load_trial(paths["job_1", 2], SmallBase())


def test_a_users_jobs_with_trials_are_listed_and_no_one_elses(store: AdapterStore) -> None:
    store.publish("default", "u", random_stack(), provenance())
    assert store.jobs_with_trials("default", "u") == []
    for user_id, job_id in (("u", "job_1"), ("u", "job_2"), ("another", "job_3")):
        store.save_trial("default", user_id, job_id, 1, random_stack())
    assert store.jobs_with_trials("default", "u") == ["job_1", "job_2"]
    store.drop_trials("default", "u", "job_2")
    assert store.jobs_with_trials("default", "u") == ["job_1"]


def test_dropping_trials_leaves_the_published_version(store: AdapterStore) -> None:
    store.save_trial("default", "u", "job_1", 3, random_stack())
    published = store.publish("default", "u", random_stack(), provenance())
    store.drop_trials("default", "u", "job_1")
    assert same(store.load(published.path, SmallBase()), random_stack())


def test_erasing_a_version_leaves_the_others(store: AdapterStore) -> None:
    gone = store.publish("default", "u", random_stack(seed=1), provenance())
    stays = store.publish("default", "u", random_stack(seed=2), provenance())
    store.erase_version(gone.path)
    store.erase_version(gone.path)
    with pytest.raises(AdapterNotFoundError):
        store.load(gone.path, SmallBase())
    assert same(store.load(stays.path, SmallBase()), random_stack(seed=2))


def test_erasing_a_user_takes_every_version_and_trial_and_no_one_elses(store: AdapterStore, folders: Folders) -> None:
    for seed in (1, 2):
        store.publish("default", "u", random_stack(seed=seed), provenance())
        store.save_trial("default", "u", f"job_{seed}", seed, random_stack(seed=seed))
    kept = [
        store.publish(tenant, user, random_stack(), provenance()).path
        for tenant, user in (("default", "u2"), ("acme", "u"))
    ]
    assert store.erase_user("default", "u") == 4
    assert folders.names(user_folder("default", "u")) == []
    assert all(same(store.load(path, SmallBase()), random_stack()) for path in kept)
    assert store.erase_user("default", "u") == 0


def test_nothing_of_an_erased_user_is_left_on_a_local_disk(tmp_path: Path) -> None:
    store = AdapterStore.open(str(tmp_path))
    store.publish("default", "u", random_stack(), provenance())
    store.save_trial("default", "u", "job_1", 1, random_stack())
    store.erase_user("default", "u")
    assert everything_in(tmp_path) == []
