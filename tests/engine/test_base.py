"""Loading bases of every architecture, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.attention import Packed
from engine.base import Base, load_base
from engine.errors import BaseModelError, UnknownArchitectureError
from engine.grouped import Route
from tests.support.families import BASE_MODEL, CONFIGS, save_tiny_model

GATED = {"gate_proj", "up_proj", "down_proj"}
EXPECTED = dict.fromkeys(CONFIGS, GATED) | {"gpt2": {"c_fc", "c_proj"}, "roberta": {"dense"}}


@pytest.mark.parametrize("family", CONFIGS)
def test_the_feed_forward_projections_of_every_layer_are_found(family: str, tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base(family)

    assert {p.layer for p in base.projections} == {0, 1, 2}
    assert {p.name.rsplit(".", 1)[1] for p in base.projections} == EXPECTED[family]
    assert not [p.name for p in base.projections if "att" in p.name]
    assert {(p.d_in, p.d_out) for p in base.projections} == {(32, 48), (48, 32)}
    assert {p.transposed for p in base.projections} == {family == "gpt2"}


@pytest.mark.parametrize("family", CONFIGS)
def test_decoder_and_head_apart_give_the_models_own_logits(family: str, tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base(family)
    ids = torch.randint(6, 8192, (2, 30), generator=torch.Generator().manual_seed(1))

    with torch.inference_mode():
        hidden = base.hidden_states(ids.view(1, -1), Packed([30, 30]), route=Route.base())
        ours = base.logits(hidden).view(2, 30, -1)
        theirs = base.model(input_ids=ids).logits

    assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("family", CONFIGS)
def test_no_token_sees_the_ones_after_it(family: str, tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base(family)
    ids = torch.randint(6, 8192, (1, 12), generator=torch.Generator().manual_seed(2))
    changed = ids.clone()
    changed[0, 8:] = 7

    with torch.inference_mode():
        before = base.hidden_states(ids, Packed([12]), route=Route.base())[:, :8]
        after = base.hidden_states(changed, Packed([12]), route=Route.base())[:, :8]

    assert torch.allclose(before, after, atol=1e-5)


def test_the_digest_tells_bases_apart_and_is_the_same_for_the_same_files(tmp_path: Path) -> None:
    first = load_base(str(save_tiny_model("llama", tmp_path / "a")), dtype="float32")
    same = load_base(str(save_tiny_model("llama", tmp_path / "b")), dtype="bfloat16")
    other = load_base(str(save_tiny_model("llama", tmp_path / "c", seed=1)), dtype="float32")

    assert first.digest == same.digest != other.digest


def hub_cache(root: Path, name: str, model: Path) -> dict[str, str]:
    """A Hugging Face cache that holds `model` under a hub name, as an earlier download left it; its environment."""
    repository = root / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    snapshot, blobs = repository / "snapshots" / ("a" * 40), repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(model.iterdir())):
        shutil.copyfile(file, blobs / f"{number:040x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:040x}")
    return {**os.environ, "HF_HUB_CACHE": str(root), "HF_HUB_OFFLINE": "1"}


def test_a_base_is_loaded_by_its_hub_name_offline_and_a_name_that_is_not_there_is_told(tmp_path: Path) -> None:
    folder = save_tiny_model("llama", tmp_path / "model")
    program = (
        "from engine.base import load_base; from engine.errors import BaseModelError\n"
        "print(load_base('someone/tiny').digest)\n"
        "try: load_base('someone/other')\n"
        "except BaseModelError as error: print(error)"
    )
    # The hub's client reads its environment once, when it is imported.
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=hub_cache(tmp_path / "cache", "someone/tiny", folder),
        cwd=BASE_MODEL.parent,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        load_base(str(folder)).digest,
        "'someone/other' is neither a local folder nor a Hugging Face model that can be fetched from here.",
    ]


def test_a_missing_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="MILP_BASE_MODEL"):
        load_base(str(tmp_path / "nowhere"))


def test_a_folder_that_is_no_model_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a model")

    with pytest.raises(BaseModelError, match=r"no config\.json"):
        load_base(str(tmp_path))


def test_a_folder_with_a_truncated_weight_file_is_refused(tmp_path: Path) -> None:
    folder = save_tiny_model("llama", tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])

    with pytest.raises(BaseModelError, match="no causal language model that can be loaded"):
        load_base(str(folder))


def test_weights_that_are_pickled_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_model("llama", tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")

    with pytest.raises(BaseModelError, match="safetensors"):
        load_base(str(folder))


def test_an_architecture_without_known_feed_forward_layers_is_refused(tmp_path: Path) -> None:
    folder = save_tiny_model("llama", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    from transformers import MambaConfig, MambaForCausalLM

    MambaForCausalLM(
        MambaConfig(vocab_size=8192, hidden_size=32, state_size=4, num_hidden_layers=2, eos_token_id=5)
    ).save_pretrained(folder)

    with pytest.raises((UnknownArchitectureError, BaseModelError), match="mamba"):
        load_base(str(folder))
