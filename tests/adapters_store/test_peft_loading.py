"""What the store publishes loads in plain PEFT and gives the logits of base + B A x."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from adapters_store.record import Provenance
from adapters_store.store import AdapterStore
from engine.attention import Packed
from engine.base import Base, load_base
from engine.configuration import Configuration
from engine.errors import StackMismatchError
from engine.grouped import Route
from engine.stack import Stack
from tests.adapters_store.stacks import random_stack, same
from tests.support.families import BASE_MODEL, save_tiny_model

# PEFT 0.21 asks transformers 5.23 for a property that was renamed there.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

FAMILIES = ["llama", "gpt2", "roberta", "qwen3", "gemma2"]
IDS = torch.tensor([[11, 42, 7, 300, 8, 95, 1234, 2], [9, 9, 77, 4000, 31, 60, 500, 13]])


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny random base of a family, or of the base in the repository."""
    made: dict[str, Path] = {"base_model": BASE_MODEL}

    def find(family: str) -> Path:
        if family not in made:
            made[family] = save_tiny_model(family, tmp_path_factory.mktemp(family))
        return made[family]

    return find


def plain_model(folder: Path) -> Any:
    """The base as anybody loads it, with nothing of this project in it."""
    config = AutoConfig.from_pretrained(folder)
    if config.model_type == "roberta":
        config.is_decoder = True
    return AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32).eval()


def provenance_of(base: Base) -> Provenance:
    return Provenance(base.name, base.digest, base.model_type, any(p.transposed for p in base.projections))


def small_stack(base: Base, seed: int = 0) -> Stack:
    """Random LoRAs on every second layer, of a size that moves the logits clearly."""
    layers = tuple(layer % 2 == 0 for layer in range(base.n_layers))
    stack = random_stack(Configuration(layers, 3, 8), base.projections, seed)
    return Stack(
        stack.configuration,
        {name: 0.1 * tensor for name, tensor in stack.a.items()},
        {name: 0.1 * tensor for name, tensor in stack.b.items()},
    )


@torch.inference_mode()
def summed_by_hand(folder: Path, base: Base, stack: Stack) -> Tensor:
    """Logits of W + sum_k B_k A_k, each LoRA of the configuration added into the weights on its own."""
    model, rank = plain_model(folder), stack.configuration.r
    for projection in base.projections:
        if projection.name not in stack.a:
            continue
        weight = model.get_submodule(projection.name).weight
        for k in range(stack.configuration.n):
            part = slice(k * rank, (k + 1) * rank)
            delta = stack.b[projection.name][:, part] @ stack.a[projection.name][part]
            weight += delta.T if projection.transposed else delta
    logits: Tensor = model(input_ids=IDS).logits
    return logits


@torch.inference_mode()
def logits_of(model: Any) -> Tensor:
    logits: Tensor = model(input_ids=IDS).logits
    return logits


def unpack(store: AdapterStore, path: str, into: Path) -> str:
    with zipfile.ZipFile(io.BytesIO(store.export_zip(path))) as archive:
        archive.extractall(into)
    return str(into)


@pytest.mark.parametrize("family", [*FAMILIES, "base_model"])
def test_an_exported_stack_gives_the_same_logits_in_plain_peft(
    family: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = folder_of(family)
    base, store = load_base(str(folder), device="cpu", dtype="float32"), AdapterStore.open(str(tmp_path / "store"))
    stack = small_stack(base)
    published = store.publish("default", "u", stack, provenance_of(base))

    loaded = PeftModel.from_pretrained(plain_model(folder), unpack(store, published.path, tmp_path / "export"))
    by_peft = logits_of(loaded.eval())
    ours = store.load(published.path, base)
    with torch.inference_mode():
        route = Route.of([(IDS.numel(), ours.a, ours.b)])
        hidden = base.hidden_states(IDS.view(1, -1), Packed([IDS.shape[1]] * len(IDS)), route=route)
        by_engine = base.logits(hidden).view(*IDS.shape, -1)

    assert same(ours, stack)
    by_hand = summed_by_hand(folder, base, stack)
    assert (by_hand - logits_of(plain_model(folder))).abs().max() > 0.1  # the stack does change the answer
    torch.testing.assert_close(by_peft, by_hand, atol=1e-4, rtol=0)
    torch.testing.assert_close(by_peft, by_engine, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_peft_puts_every_tensor_on_its_module_and_on_no_other(
    family: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = folder_of(family)
    base, store = load_base(str(folder), device="cpu", dtype="float32"), AdapterStore.open(str(tmp_path / "store"))
    stack = small_stack(base)
    published = store.publish("default", "u", stack, provenance_of(base))
    # PEFT only warns about places it found no tensor for; here a warning fails the test.
    loaded = PeftModel.from_pretrained(plain_model(folder), str(tmp_path / "store" / published.path))
    modules = {n: m for n, m in loaded.base_model.model.named_modules() if isinstance(m, LoraLayer)}
    assert set(modules) == set(stack.a)
    for name, module in modules.items():
        assert torch.equal(module.lora_A["default"].weight, stack.a[name])
        assert torch.equal(module.lora_B["default"].weight, stack.b[name])
        assert module.scaling["default"] == 1.0
        assert module.fan_in_fan_out == any(p.transposed for p in base.projections)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stack_before_training_changes_no_logit_in_peft(
    family: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = folder_of(family)
    base, store = load_base(str(folder), device="cpu", dtype="float32"), AdapterStore.open(str(tmp_path / "store"))
    stack = small_stack(base)
    untrained = Stack(stack.configuration, stack.a, {name: torch.zeros_like(b) for name, b in stack.b.items()})
    published = store.publish("default", "u", untrained, provenance_of(base))
    loaded = PeftModel.from_pretrained(plain_model(folder), str(tmp_path / "store" / published.path))
    assert torch.equal(logits_of(loaded.eval()), logits_of(plain_model(folder)))


def test_a_stack_does_not_load_onto_a_base_with_other_weights(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    base = load_base(str(folder_of("llama")), device="cpu", dtype="float32")
    other = load_base(str(save_tiny_model("llama", tmp_path / "other", seed=1)), device="cpu", dtype="float32")
    store = AdapterStore.open(str(tmp_path / "store"))
    published = store.publish("default", "u", small_stack(base), provenance_of(base))
    with pytest.raises(StackMismatchError, match="MILP_BASE_MODEL"):
        store.load(published.path, other)
