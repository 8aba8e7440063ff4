"""The adapter store as it grows: time of each operation at 0, 1,000, 10,000 and 100,000 versions in a local folder.

`python -m benchmarks.store` fills a store with tiny stacks of ten versions a user, all alike but for one number, and at
each size sets every operation beside the same one on a store that stays almost empty. QUICK=1 stops at 5,000. STORE= is
where the folder is made. The stacks are tiny, so that what is timed is files and folders, not bytes. A database knows
every version, as the service's does, and is asked what every query asks of it: which version answers for a user.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from unittest.mock import patch

import torch
from sqlalchemy import insert

from adapters_store.record import Provenance
from adapters_store.store import AdapterStore, Published
from app.database import Database
from app.repositories.answering import known
from app.tables import User, Version
from benchmarks.results_file import Row, compared
from benchmarks.rounds import quick, report
from engine.configuration import Configuration
from engine.projections import Projection
from engine.stack import Stack

VERSIONS_A_USER = 10
SIZES, QUICK_SIZES = (0, 1_000, 10_000, 100_000), (0, 1_000, 5_000)
TENANT = "bench"
OPERATIONS = ("publish", "load", "look up (metadata)", "look up (database)", "erase a user")
EMPTY = "an almost empty store"


@dataclass(frozen=True)
class Target:
    """What a stack is loaded onto, as far as the store looks at a base."""

    digest: str = "0" * 64
    n_layers: int = 1
    projections: tuple[Projection, ...] = (Projection("model.layers.0.mlp.up_proj", 0, 4, 4, transposed=False),)


TARGET = Target()
PROVENANCE = Provenance("bench", TARGET.digest, "llama", fan_in_fan_out=False)


@dataclass
class Filled:
    """A store and a database that knows what is in it, and the versions, in the order of their users."""

    store: AdapterStore
    database: Database
    versions: list[Published] = field(default_factory=list)

    def fill(self, count: int) -> None:
        """Publish until there are so many. Nothing is flushed to the disk: this part need not outlast a power cut."""
        with patch("os.fsync", lambda _descriptor: None):
            before = len(self.versions)
            for number in range(before, count):
                self.versions.append(self.store.publish(TENANT, user_of(number), stack(number), PROVENANCE))
        self._note(range(before, count))

    def _note(self, numbers: range) -> None:
        """Rows for these versions and their users, for each of whom the first answers."""
        users = [
            User(tenant_id=TENANT, user_id=user_of(n), active_version_id=self.versions[n].id).model_dump()
            for n in numbers
            if n % VERSIONS_A_USER == 0
        ]
        made = [(user_of(n), self.versions[n]) for n in numbers]
        versions = [
            Version(
                id=v.id, tenant_id=TENANT, user_id=user, path=v.path, layers="1", n=1, r=8, base_digest=TARGET.digest
            ).model_dump(exclude={"row"})
            for user, v in made
        ]
        with self.database.write() as session:
            for table, rows in ((User, users), (Version, versions)):
                if rows:
                    session.connection().execute(insert(table), rows)

    def operations(self, number: int) -> dict[str, float]:
        """Milliseconds of each operation, once. What is published is erased again, with a user of its own."""
        user, chosen = f"new-{number}", number * 7919 % len(self.versions)
        spread = self.versions[chosen].path
        spent: dict[str, float] = {}
        _timed(spent, "publish", lambda: self.store.publish(TENANT, user, stack(-1 - number), PROVENANCE))
        _timed(spent, "load", lambda: self.store.load(spread, TARGET))
        _timed(spent, "look up (metadata)", lambda: self.store.metadata(spread))
        _timed(spent, "look up (database)", lambda: self._active(user_of(chosen)))
        _timed(spent, "erase a user", lambda: self.store.erase_user(TENANT, user))
        return spent

    def _active(self, user: str) -> None:
        with self.database.read() as session:
            if known(session, TENANT, user).active is None:
                raise ValueError(f"{user} has no version that answers")


def user_of(number: int) -> str:
    """Whose version it is."""
    return f"user-{number // VERSIONS_A_USER}"


def measure(folder: Path, sizes: Sequence[int], *, repeats: int, operations: int) -> list[Row]:
    """Rows of every operation at every size; a repeat is the median of so many operations."""
    grown, small = (filled(folder / name) for name in ("grown", "small"))
    small.fill(1)
    rows = []
    for size in sizes:
        grown.fill(max(1, size))
        found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in OPERATIONS}
        for repeat in range(repeats + 1):  # the first warms up
            done = [_both(grown, small, repeat * operations + i) for i in range(operations)]
            for name, (ours, empty) in found.items():
                if repeat:
                    ours.append(median(one[name] for one, _ in done))
                    empty.append(median(other[name] for _, other in done))
        rows += [compared(f"{name}, {size:,} versions", "ms", *found[name], EMPTY) for name in OPERATIONS]
        print(f"measured: {size:,} versions", flush=True)
    return rows


def filled(folder: Path) -> Filled:
    """Nothing yet, in this folder."""
    folder.mkdir()
    database = Database(f"sqlite:///{folder}/milp.db")
    database.upgrade()
    return Filled(AdapterStore.open((folder / "store").as_uri()), database)


def _both(grown: Filled, small: Filled, number: int) -> tuple[dict[str, float], dict[str, float]]:
    """The operations on both stores, now one and now the other first."""
    if number % 2:
        of_small = small.operations(number)
        return grown.operations(number), of_small
    return grown.operations(number), small.operations(number)


def stack(number: int) -> Stack:
    """A tiny stack; `number` is one of its numbers, so that no two are the same version."""
    name = TARGET.projections[0].name
    a = torch.zeros(8, 4)
    a[0, 0] = number
    return Stack(Configuration((True,), 1, 8), {name: a}, {name: torch.zeros(4, 8)})


def _timed(spent: dict[str, float], name: str, call: Callable[[], object]) -> None:
    began = time.perf_counter()
    call()
    spent[name] = 1e3 * (time.perf_counter() - began)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="milp-bench-", dir=os.environ.get("STORE")) as folder:
        yield Path(folder)


def main() -> None:
    sizes = QUICK_SIZES if quick() else SIZES
    with _folder() as folder:
        rows = measure(folder, sizes, repeats=5, operations=20 if quick() else 50)
    report("store", rows)


if __name__ == "__main__":
    main()
