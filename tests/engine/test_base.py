"""Loading bases of every architecture, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.attention import Packed
from engine.base import Base, load_base
from engine.errors import BaseModelError, UnknownArchitectureError
from engine.grouped import Route
from tests.support.families import CONFIGS, save_tiny_model

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
