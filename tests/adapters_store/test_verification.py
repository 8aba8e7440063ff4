"""Loading: nothing that is not byte for byte what was published, and nothing onto another base."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from adapters_store import layout, record
from adapters_store.errors import AdapterCorruptError, AdapterNotFoundError
from adapters_store.folders import Folders
from adapters_store.layout import CONFIG_FILE, RECORD_FILE, WEIGHTS_FILE
from adapters_store.peft_format import weights_to_bytes
from adapters_store.store import AdapterStore
from engine.errors import StackMismatchError
from engine.stack import Stack
from tests.adapters_store.stacks import BASE_DIGEST, SmallBase, projections, provenance, random_stack

FILES = (CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE)
WHAT_TO_DO = "activate another version of this user, or personalise again"


def put(folders: Folders, path: str, name: str, data: bytes | None) -> None:
    """Replace one file of a published folder, or take it away, as nobody should."""
    files = {n: folders.read(f"{path}/{n}") for n in folders.names(path)}
    files.pop(name, None)
    folders.remove(path)
    folders.write(path, files if data is None else {**files, name: data})


def forged(folders: Folders, weights: bytes, stack: Stack) -> str:
    """A folder whose digests are all right, but whose weights file no publisher of ours would write."""
    files = {CONFIG_FILE: b"{}", WEIGHTS_FILE: weights}
    version_id = f"v_{record.content_digest(weights, stack.configuration, BASE_DIGEST)}"
    path = layout.version_path("default", "u", version_id)
    sealed = record.version_record(files, stack.configuration, provenance(), version_id)
    folders.write(path, files | {RECORD_FILE: sealed})
    return path


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_found(
    store: AdapterStore, folders: Folders, name: str, place: float, bit: int
) -> None:
    published = store.publish("default", "u", random_stack(), provenance())
    data = bytearray(folders.read(f"{published.path}/{name}"))
    data[int(place * len(data))] ^= 1 << bit
    put(folders, published.path, name, bytes(data))
    with pytest.raises(AdapterCorruptError, match=f"{published.id} is damaged: .*{WHAT_TO_DO}"):
        store.load(published.path, SmallBase())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0, 1, 100])
def test_a_file_that_was_cut_short_is_found(store: AdapterStore, folders: Folders, name: str, kept: int) -> None:
    published = store.publish("default", "u", random_stack(), provenance())
    put(folders, published.path, name, folders.read(f"{published.path}/{name}")[:kept])
    for attempt in (lambda: store.load(published.path, SmallBase()), lambda: store.export_zip(published.path)):
        with pytest.raises(AdapterCorruptError, match=WHAT_TO_DO):
            attempt()


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_lost_file_is_named(store: AdapterStore, folders: Folders, name: str) -> None:
    published = store.publish("default", "u", random_stack(), provenance())
    put(folders, published.path, name, None)
    with pytest.raises(AdapterCorruptError, match=f"has lost its {name}"):
        store.load(published.path, SmallBase())


def test_a_folder_without_its_record_is_no_version(store: AdapterStore, folders: Folders) -> None:
    published = store.publish("default", "u", random_stack(), provenance())
    put(folders, published.path, RECORD_FILE, None)
    attempts: list[Callable[[], object]] = [
        lambda: store.load(published.path, SmallBase()),
        lambda: store.metadata(published.path),
        lambda: store.export_zip(published.path),
    ]
    for attempt in attempts:
        with pytest.raises(AdapterNotFoundError, match=f"no complete adapter at .*{WHAT_TO_DO}"):
            attempt()


def test_a_version_put_in_anothers_place_is_found(store: AdapterStore, folders: Folders) -> None:
    mine = store.publish("default", "u", random_stack(), provenance())
    other = store.publish("default", "v", random_stack(seed=1), provenance())
    for name in FILES:
        put(folders, mine.path, name, folders.read(f"{other.path}/{name}"))
    with pytest.raises(AdapterCorruptError, match="belongs to another stack"):
        store.load(mine.path, SmallBase())


def test_a_record_that_lies_about_the_configuration_is_found(store: AdapterStore, folders: Folders) -> None:
    stack = random_stack()
    published = store.publish("default", "u", stack, provenance())
    files = {n: folders.read(f"{published.path}/{n}") for n in (CONFIG_FILE, WEIGHTS_FILE)}
    lie = record.version_record(files, stack.configuration.default_lora(2), provenance(), published.id)
    put(folders, published.path, RECORD_FILE, lie)
    with pytest.raises(AdapterCorruptError, match="belongs to another stack"):
        store.metadata(published.path)


def test_a_record_that_names_no_base_is_found(store: AdapterStore, folders: Folders) -> None:
    """Though its digests are all right: those of a stack of no base, under the name that they give."""
    stack = random_stack()
    weights = weights_to_bytes(stack)
    path = layout.version_path("default", "u", f"v_{record.content_digest(weights, stack.configuration, '')}")
    files = {CONFIG_FILE: b"{}", WEIGHTS_FILE: weights}
    body = json.loads(record.version_record(files, stack.configuration, provenance(), path.rpartition("/")[2]))
    without = {name: value for name, value in body.items() if name not in ("base", "seal")}
    folders.write(path, files | {RECORD_FILE: record.sealed(without)})
    with pytest.raises(AdapterCorruptError, match=r"stack\.json is no record"):
        store.load(path, SmallBase())


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b'{"seal": 3}', b'{"seal": "x", "format": 2}', b"\xff\xfe\x00", b'{"format": 1}']
)
def test_a_record_that_is_none_is_found(store: AdapterStore, folders: Folders, text: bytes) -> None:
    published = store.publish("default", "u", random_stack(), provenance())
    put(folders, published.path, RECORD_FILE, text)
    with pytest.raises(AdapterCorruptError, match=WHAT_TO_DO):
        store.load(published.path, SmallBase())


def test_a_sealed_record_without_its_fields_is_found(store: AdapterStore, folders: Folders) -> None:
    published = store.publish("default", "u", random_stack(), provenance())
    put(folders, published.path, RECORD_FILE, record.sealed({"format": record.FORMAT}))
    with pytest.raises(AdapterCorruptError, match=r"stack\.json is no record"):
        store.load(published.path, SmallBase())


def test_a_stack_of_another_base_is_refused_and_says_which(store: AdapterStore) -> None:
    published = store.publish("default", "u", random_stack(), provenance())
    with pytest.raises(StackMismatchError, match=r"'small-base' \(bbbbbbbbbbbb\).*\(cccccccccccc\).*MILP_BASE_MODEL"):
        store.load(published.path, SmallBase(digest="c" * 64))


def test_a_stack_whose_shapes_do_not_fit_is_refused(store: AdapterStore) -> None:
    published = store.publish("default", "u", random_stack(), provenance())
    for base in (
        SmallBase(projections=projections(2, d_model=7)),
        SmallBase(projections=projections(2)[1:]),
        SmallBase(n_layers=3, projections=projections(3)),
    ):
        with pytest.raises(StackMismatchError, match="does not fit the base"):
            store.load(published.path, base)


def test_a_tensor_that_fits_no_module_is_an_error(store: AdapterStore, folders: Folders) -> None:
    stack = random_stack()
    extra = {
        f"base_model.model.{n}.lora_{s}.weight": t for s, h in (("A", stack.a), ("B", stack.b)) for n, t in h.items()
    }
    for stranger in ("lm_head.weight", "base_model.model.lm_head.lora_A.weight"):
        path = forged(folders, save({**extra, stranger: torch.zeros(2, 2)}), stack)
        with pytest.raises(StackMismatchError, match="lm_head"):
            store.load(path, SmallBase())


def test_values_that_are_not_finite_are_refused_on_loading_too(store: AdapterStore, folders: Folders) -> None:
    stack = random_stack()
    next(iter(stack.a.values()))[0, 0] = float("nan")
    path = forged(folders, weights_to_bytes(stack), stack)
    with pytest.raises(StackMismatchError, match="not finite"):
        store.load(path, SmallBase())


def test_a_pickle_is_never_opened(store: AdapterStore, folders: Folders) -> None:
    stack = random_stack()
    pickled = io.BytesIO()
    torch.save(dict(stack.a), pickled)
    for weights in (pickled.getvalue(), pickle.dumps(stack.configuration), b""):
        path = forged(folders, weights, stack)
        with pytest.raises(AdapterCorruptError, match="no readable safetensors file"):
            store.load(path, SmallBase())


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc", "default/alice/v_1", ""])
def test_a_path_that_leaves_the_store_is_not_followed(store: AdapterStore, path: str) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: store.load(path, SmallBase()),
        lambda: store.metadata(path),
        lambda: store.export_zip(path),
        lambda: store.erase_version(path),
    ]
    for attempt in attempts:
        with pytest.raises(AdapterNotFoundError, match="is no path of a version"):
            attempt()
