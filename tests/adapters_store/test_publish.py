"""Publishing: named by content, all or nothing, the same twice is the same once."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters_store.errors import AdapterNotFoundError, StoreError
from adapters_store.folders import Folders, open_folders
from adapters_store.layout import RECORD_FILE, WEIGHTS_FILE
from adapters_store.store import AdapterStore
from engine.configuration import MAX_LORAS, RANKS, Configuration
from engine.errors import StackMismatchError
from engine.stack import Stack
from tests.adapters_store.stacks import SmallBase, projections, provenance, random_stack, same
from tests.adapters_store.test_folders import everything_in, largest_file

configurations = st.builds(
    Configuration,
    layers=st.lists(st.booleans(), min_size=3, max_size=3).filter(any).map(tuple),
    n=st.integers(1, MAX_LORAS),
    r=st.sampled_from(RANKS),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    configuration=configurations,
    seed=st.integers(0, 2**31 - 1),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    tenant=st.text(max_size=20),
    user_id=st.text(max_size=20),
)
def test_any_stack_of_any_user_comes_back_bit_for_bit(
    store: AdapterStore, configuration: Configuration, seed: int, dtype: torch.dtype, tenant: str, user_id: str
) -> None:
    base = SmallBase(n_layers=3, projections=projections(3))
    stack = random_stack(configuration, base.projections, seed, dtype)
    published = store.publish(tenant, user_id, stack, provenance())
    assert same(store.load(published.path, base), stack)
    assert published.path.endswith(f"/{published.id}")


def test_a_version_is_named_by_weights_configuration_and_base(store: AdapterStore) -> None:
    stack = random_stack(Configuration((True, False), 2, 8))
    other_weights = random_stack(Configuration((True, False), 2, 8), seed=1)
    other_split = Stack(Configuration((True, False), 1, 16), stack.a, stack.b)
    ids = [
        store.publish("default", "u", stack, provenance()).id,
        store.publish("default", "u", other_weights, provenance()).id,
        store.publish("default", "u", other_split, provenance()).id,
        store.publish("default", "u", stack, provenance("c" * 64)).id,
    ]
    assert len(set(ids)) == 4
    assert store.publish("default", "somebody else", stack, provenance()).id == ids[0]


def test_the_record_says_where_a_stack_comes_from(store: AdapterStore) -> None:
    published = store.publish("default", "u", random_stack(), provenance())
    found = store.metadata(published.path)
    assert found["id"] == published.id
    assert found["configuration"] == {"layers": "10", "n": 2, "r": 8}
    assert found["base"]["digest"] == provenance().base_digest
    assert found["metrics"] == {"rouge_l": 21.5}
    assert found["samples"] == ["0" * 64, "1" * 64]
    assert (found["seed"], found["options"]) == (7, {"preset": "quick"})
    assert set(found["software"]) >= {"torch", "peft", "safetensors"}


def test_publishing_the_same_again_changes_nothing(store: AdapterStore, folders: Folders) -> None:
    first = store.publish("default", "u", random_stack(), provenance())
    record = folders.read(f"{first.path}/{RECORD_FILE}")
    second = store.publish("default", "u", random_stack(), replace(provenance(), metrics={"rouge_l": 99.0}))
    assert second == first
    assert folders.read(f"{first.path}/{RECORD_FILE}") == record


def test_a_damaged_version_is_written_anew(store: AdapterStore, folders: Folders) -> None:
    stack = random_stack()
    published = store.publish("default", "u", stack, provenance())
    whole = {name: folders.read(f"{published.path}/{name}") for name in folders.names(published.path)}
    for damage in ({**whole, WEIGHTS_FILE: whole[WEIGHTS_FILE][:-1]}, {WEIGHTS_FILE: whole[WEIGHTS_FILE]}):
        folders.remove(published.path)
        folders.write(published.path, damage)
        assert store.publish("default", "u", stack, provenance()) == published
        assert same(store.load(published.path, SmallBase()), stack)


def test_racing_publishers_of_one_stack_agree_on_one_version(store: AdapterStore) -> None:
    barrier, published = threading.Barrier(4), []

    def publish() -> None:
        barrier.wait()
        published.append(store.publish("default", "u", random_stack(), provenance()))

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(published) == 4
    assert len(set(published)) == 1
    assert same(store.load(published[0].path, SmallBase()), random_stack())


def test_stacks_that_share_a_bank_are_published_each_for_itself(store: AdapterStore) -> None:
    base = SmallBase()
    whole = random_stack(Configuration((True, False), 4, 8))
    half = Configuration((True, False), 2, 8)
    parts = [
        Stack(half, {n: t[rows] for n, t in whole.a.items()}, {n: t[:, rows] for n, t in whole.b.items()})
        for rows in (slice(0, 16), slice(16, 32))
    ]
    paths = [store.publish("default", "u", part, provenance()).path for part in parts]
    assert all(same(store.load(path, base), part) for path, part in zip(paths, parts, strict=True))


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_stack_with_values_that_are_not_finite_is_not_kept(
    store: AdapterStore, folders: Folders, poison: float
) -> None:
    stack = random_stack()
    next(iter(stack.b.values()))[0, 0] = poison
    with pytest.raises(StackMismatchError, match="NaN or infinite values; train this trial again"):
        store.publish("default", "u", stack, provenance())
    assert folders.names("") == []


def test_a_stack_whose_tensors_do_not_belong_together_is_not_kept(store: AdapterStore, folders: Folders) -> None:
    stack = random_stack()
    name = sorted(stack.a)[0]
    lonely = Stack(stack.configuration, stack.a, {n: t for n, t in stack.b.items() if n != name})
    thin = Stack(stack.configuration, {**stack.a, name: stack.a[name][:3]}, stack.b)
    empty = Stack(Configuration.base(2), {}, {})
    for wrong, message in ((lonely, "only one of A and B"), (thin, "its rank is 16"), (empty, "is the base itself")):
        with pytest.raises(StackMismatchError, match=message):
            store.publish("default", "u", wrong, provenance())
    assert folders.names("") == []


def test_metrics_that_json_has_no_word_for_are_refused_before_anything_is_written(
    store: AdapterStore, folders: Folders
) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.publish("default", "u", random_stack(), replace(provenance(), metrics={"loss": float("nan")}))
    assert folders.names("") == []


def test_a_disk_that_fills_up_while_publishing_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    store = AdapterStore.open(str(tmp_path))
    large = random_stack(Configuration((True, True), 32, 96))
    with largest_file(300_000), pytest.raises(StoreError, match=r"no space is left there.*start again"):
        store.publish("default", "u", large, provenance())
    assert everything_in(tmp_path) == []
    assert same(store.load(store.publish("default", "u", large, provenance()).path, SmallBase()), large)


def test_a_publisher_killed_midway_leaves_no_version(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from adapters_store.store import AdapterStore\n"
        "from tests.adapters_store.stacks import provenance, random_stack\n"
        "flushed, real = [], os.fsync\n"
        "def fsync(descriptor):\n"
        "    real(descriptor)\n"
        "    flushed.append(descriptor)\n"
        "    if os.path.basename(os.readlink(f'/proc/self/fd/{descriptor}')).endswith('.safetensors'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.fsync = fsync\n"
        "AdapterStore.open(sys.argv[1]).publish('default', 'u', random_stack(), provenance())\n"
    )
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=root, env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert [Path(name).parts[0] for name in everything_in(tmp_path)] == [".aside", ".aside"]
    store = AdapterStore.open(str(tmp_path))
    assert store.erase_user("default", "u") == 0
    assert everything_in(tmp_path) == []


def test_an_exported_version_is_three_flat_files_and_always_the_same_bytes(
    store: AdapterStore, folders: Folders, tmp_path: Path
) -> None:
    published = store.publish("default", "u", random_stack(), provenance())
    exported = store.export_zip(published.path)
    assert exported == store.export_zip(published.path)
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        assert sorted(archive.namelist()) == ["adapter_config.json", "adapter_model.safetensors", "stack.json"]
        for name in archive.namelist():
            assert archive.read(name) == folders.read(f"{published.path}/{name}")


def test_pefts_configuration_names_the_modules_in_full(store: AdapterStore, folders: Folders) -> None:
    stack = random_stack()
    published = store.publish("default", "u", stack, provenance(fan_in_fan_out=True))
    config = json.loads(folders.read(f"{published.path}/adapter_config.json"))
    assert config["target_modules"] == sorted(stack.a)
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (16, 16, 0.0)
    assert config["fan_in_fan_out"] is True
    assert (config["peft_type"], config["task_type"]) == ("LORA", "CAUSAL_LM")
    assert config["base_model_name_or_path"] == "small-base"


def test_two_stores_at_one_url_see_each_others_versions(store_url: str) -> None:
    writer, reader = AdapterStore(open_folders(store_url)), AdapterStore.open(store_url)
    reader.ping()
    published = writer.publish("default", "u", random_stack(), provenance())
    assert same(reader.load(published.path, SmallBase()), random_stack())
    writer.erase_version(published.path)
    with pytest.raises(AdapterNotFoundError, match="no complete adapter"):
        reader.load(published.path, SmallBase())


def test_opening_the_store_loads_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from adapters_store.store import AdapterStore\n"
        "store = AdapterStore.open(sys.argv[1])\n"
        "store.ping(), store.erase_user('default', 'u')\n"
        "print([name for name in ('torch', 'transformers', 'peft', 'numpy') if name in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", script, str(tmp_path)]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
