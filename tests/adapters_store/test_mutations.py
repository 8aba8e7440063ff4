"""The reader, fuzzed: whatever a version's files hold, with all digests right, it gives a stack that fits or an error
of its own."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adapters_store import layout, record
from adapters_store.errors import AdapterCorruptError
from adapters_store.folders import Folders
from adapters_store.layout import CONFIG_FILE, RECORD_FILE, WEIGHTS_FILE
from adapters_store.peft_format import weights_to_bytes
from adapters_store.store import AdapterStore
from engine.configuration import Configuration
from engine.errors import StackMismatchError
from engine.stack import check_fits
from tests.adapters_store.stacks import BASE_DIGEST, SmallBase, provenance, random_stack
from tests.support.examples import tried

STACK = random_stack(Configuration((True, False), 1, 8))
WEIGHTS = weights_to_bytes(STACK)
SHAPES = [len(WEIGHTS), 0, 1, 2, 6, 8, 10, 64, 2**31, 2**63, 2**64 - 1, -1]
DTYPES = ["F32", "F16", "BF16", "F64", "I64", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "C64", "F4", "f32", ""]
odd_json = st.recursive(
    st.none() | st.booleans() | st.sampled_from(SHAPES) | st.floats() | st.text(max_size=5) | st.sampled_from(DTYPES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 12), st.binary(max_size=12)), min_size=1, max_size=4
)  # where, how much of what is there goes, and what comes in its place


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """A local folder alone: what is read does not depend on where it lies."""
    return str(tmp_path / "store")


def edited(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for place, gone, put in changes:
        at = int(place * len(data))
        data = data[:at] + put + data[at + gone :]
    return data


def replaced(thing: Any, path: list[int], value: Any) -> Any:
    """The JSON value with another in one place of it, found by following `path` as far as there is something."""
    if not path or not isinstance(thing, dict | list) or not thing:
        return value
    keys = sorted(thing) if isinstance(thing, dict) else list(range(len(thing)))
    key = keys[path[0] % len(keys)]
    copy = dict(thing) if isinstance(thing, dict) else list(thing)
    copy[key] = replaced(copy[key], path[1:], value)
    return copy


def kept(folders: Folders, weights: bytes, body: dict[str, Any] | None = None) -> str:
    """A folder whose seal, digests and name are all right for these weights and this record."""
    files = {CONFIG_FILE: b"{}", WEIGHTS_FILE: weights}
    if body is None:
        body = json.loads(record.version_record(files, STACK.configuration, provenance(), "v_"))
        del body["seal"]
    try:
        named = body["files"][WEIGHTS_FILE]["sha256"], body["configuration"], body.get("base", {}).get("digest", "")
        content = record.sha256(record._canonical(dict(zip(("weights", "configuration", "base"), named, strict=True))))
    except (KeyError, TypeError, AttributeError):
        content = record.content_digest(weights, STACK.configuration, BASE_DIGEST)
    path = layout.version_path("default", "u", f"v_{content[:32]}")
    folders.remove(path)
    folders.write(path, files | {RECORD_FILE: record.sealed(body)})
    return path


def read(store: AdapterStore, path: str) -> bool:
    """Whether a stack came back; one that does not fit, or another kind of error, fails the test."""
    base, stack = SmallBase(), None
    with suppress(AdapterCorruptError, StackMismatchError):
        stack = store.load(path, base)
    if stack is not None:
        check_fits(stack, base.projections, base.n_layers)
    return stack is not None


def test_what_was_not_changed_is_read(store: AdapterStore, folders: Folders) -> None:
    assert read(store, kept(folders, WEIGHTS))


@given(changes=edits)
@tried(50)
def test_weights_with_other_bytes(
    store: AdapterStore, folders: Folders, changes: list[tuple[float, int, bytes]]
) -> None:
    read(store, kept(folders, edited(WEIGHTS, changes)))


@given(path=st.lists(st.integers(0, 7), min_size=1, max_size=4), value=odd_json, more=st.binary(max_size=9))
@tried(80)
def test_weights_with_another_header(
    store: AdapterStore, folders: Folders, path: list[int], value: Any, more: bytes
) -> None:
    length = int.from_bytes(WEIGHTS[:8], "little")
    header = json.dumps(replaced(json.loads(WEIGHTS[8 : 8 + length]), path, value)).encode()
    read(store, kept(folders, len(header).to_bytes(8, "little") + header + WEIGHTS[8 + length :] + more))


@given(path=st.lists(st.integers(0, 11), min_size=1, max_size=4), value=odd_json)
@tried(80)
def test_a_record_with_another_value(store: AdapterStore, folders: Folders, path: list[int], value: Any) -> None:
    files = {CONFIG_FILE: b"{}", WEIGHTS_FILE: WEIGHTS}
    body = json.loads(record.version_record(files, STACK.configuration, provenance(), "v_"))
    del body["seal"]
    changed = replaced(body, path, value)
    try:
        record.sealed(changed)
    except ValueError:
        return  # NaN or infinity, which no seal can be taken of
    read(store, kept(folders, WEIGHTS, changed))


@given(changes=edits)
@tried(50)
def test_a_record_with_other_bytes(
    store: AdapterStore, folders: Folders, changes: list[tuple[float, int, bytes]]
) -> None:
    path = kept(folders, WEIGHTS)
    files = {name: folders.read(f"{path}/{name}") for name in folders.names(path)}
    folders.remove(path)
    folders.write(path, files | {RECORD_FILE: edited(files[RECORD_FILE], changes)})
    read(store, path)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int64, torch.bool, torch.complex64])
def test_numbers_that_are_no_plain_floats_are_refused(
    store: AdapterStore, folders: Folders, dtype: torch.dtype
) -> None:
    path = kept(folders, weights_to_bytes(random_stack(STACK.configuration, dtype=dtype)))
    with pytest.raises(StackMismatchError, match="holds torch"):
        store.load(path, SmallBase())


def test_a_record_as_deep_as_no_reader_goes(store: AdapterStore, folders: Folders) -> None:
    path = kept(folders, WEIGHTS)
    files = {name: folders.read(f"{path}/{name}") for name in folders.names(path)}
    folders.remove(path)
    folders.write(path, files | {RECORD_FILE: b"[" * 200_000})
    with pytest.raises(AdapterCorruptError, match="not JSON"):
        store.load(path, SmallBase())
