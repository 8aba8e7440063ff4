"""Publishing, damaging, loading and erasing in any order: there is what was published and not erased, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from adapters_store import layout
from adapters_store.errors import AdapterCorruptError, AdapterNotFoundError
from adapters_store.layout import WEIGHTS_FILE
from adapters_store.store import AdapterStore
from tests.adapters_store.stacks import SmallBase, provenance, random_stack, same
from tests.support.examples import tried

OWNERS = [("one", "ann"), ("one", "bob"), ("two", "ann")]
owners, seeds = st.sampled_from(OWNERS), st.integers(0, 2)


class AnyOrder(RuleBasedStateMachine):
    """What should be there: for each owner the seeds of the stacks published, and whether each is whole."""

    root: Path
    numbers: Iterator[int]

    def __init__(self) -> None:
        super().__init__()
        self.folder = self.root / str(next(self.numbers))
        self.store = AdapterStore.open(str(self.folder))
        self.there: dict[tuple[str, str], dict[int, bool]] = {owner: {} for owner in OWNERS}

    @rule(owner=owners, seed=seeds)
    def publish(self, owner: tuple[str, str], seed: int) -> None:
        kept = self.store.publish(*owner, random_stack(seed=seed), provenance())
        assert kept.path == self._path(owner, seed)
        self.there[owner][seed] = True

    @rule(owner=owners, seed=seeds)
    def damage(self, owner: tuple[str, str], seed: int) -> None:
        if seed in self.there[owner]:
            (self.folder / self._path(owner, seed) / WEIGHTS_FILE).write_bytes(b"not any more")
            self.there[owner][seed] = False

    @rule(owner=owners, seed=seeds)
    def load(self, owner: tuple[str, str], seed: int) -> None:
        path, whole = self._path(owner, seed), self.there[owner].get(seed)
        if whole:
            assert same(self.store.load(path, SmallBase()), random_stack(seed=seed))
            return
        with pytest.raises(AdapterNotFoundError if whole is None else AdapterCorruptError):
            self.store.load(path, SmallBase())

    @rule(owner=owners, seed=seeds)
    def erase_version(self, owner: tuple[str, str], seed: int) -> None:
        self.store.erase_version(self._path(owner, seed))
        self.there[owner].pop(seed, None)

    @rule(owner=owners)
    def erase_user(self, owner: tuple[str, str]) -> None:
        assert self.store.erase_user(*owner) == len(self.there[owner])
        self.there[owner].clear()

    @invariant()
    def what_lies_there_is_what_should(self) -> None:
        for owner, seeds_there in self.there.items():
            lying: set[str] = set()
            with suppress(FileNotFoundError):
                lying = {folder.name for folder in (self.folder / layout.user_folder(*owner)).iterdir()}
            assert lying == {self._path(owner, seed).rpartition("/")[2] for seed in seeds_there}

    def _path(self, owner: tuple[str, str], seed: int) -> str:
        return layout.version_path(*owner, VERSION_IDS[seed])


VERSION_IDS: list[str] = []


def test_in_whatever_order_there_is_what_was_published_and_not_erased(tmp_path: Path) -> None:
    AnyOrder.root, AnyOrder.numbers = tmp_path / "runs", iter(range(10**6))
    first = AdapterStore.open(str(tmp_path / "ids"))
    VERSION_IDS[:] = [first.publish("t", "u", random_stack(seed=seed), provenance()).id for seed in range(3)]
    run_state_machine_as_test(AnyOrder, settings=tried(15))
