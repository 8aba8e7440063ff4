"""The benchmark of the store: every operation at every size, on stores that are filled as they claim."""

from __future__ import annotations

from pathlib import Path

from benchmarks import store


def test_every_operation_is_measured_at_every_size(tmp_path: Path) -> None:
    rows = store.measure(tmp_path, (0, 12), repeats=2, operations=2)
    assert [row.what for row in rows] == [f"{name}, {size} versions" for size in (0, 12) for name in store.OPERATIONS]
    assert all(row.ours > 0 and row.peer_name == store.EMPTY for row in rows)


def test_a_filled_store_holds_ten_versions_of_each_user_and_keeps_them(tmp_path: Path) -> None:
    filled = store.filled(tmp_path / "some")
    filled.fill(12)
    filled.operations(0)
    assert len({version.id for version in filled.versions}) == 12
    assert [filled.store.load(version.path, store.TARGET).configuration.r for version in filled.versions] == [8] * 12
    users = sorted((tmp_path / "some" / "store" / store.TENANT).iterdir())
    assert [len(list(user.iterdir())) for user in users] in ([10, 2], [2, 10])
