"""Where the feed-forward projections of a base model are: one table by architecture, then a look at the structure.

Knows module names and shapes; must not know prompts, stacks or training.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from engine.errors import UnknownArchitectureError

_GATED = re.compile(r"\.layers\.(\d+)\.mlp\.(?:gate_proj|up_proj|down_proj)$")
_GPT2 = re.compile(r"\.h\.(\d+)\.mlp\.(?:c_fc|c_proj)$")
_BERT = re.compile(r"\.layer\.(\d+)\.(?:intermediate|output)\.dense$")

FEED_FORWARD: dict[str, re.Pattern[str]] = {
    "llama": _GATED,
    "mistral": _GATED,
    "qwen2": _GATED,
    "qwen3": _GATED,
    "gemma": _GATED,
    "gemma2": _GATED,
    "gemma3_text": _GATED,
    "gpt2": _GPT2,
    "roberta": _BERT,
}
"""Model type of the Hugging Face config -> pattern of its feed-forward projections; group 1 is the decoder layer."""


@dataclass(frozen=True, slots=True)
class Projection:
    """One feed-forward projection W (d_out x d_in) of the base.

    `name` is the module's full dotted path inside the model. `transposed` is true for GPT-2's Conv1D, which keeps
    its weight as d_in x d_out.
    """

    name: str
    layer: int
    d_in: int
    d_out: int
    transposed: bool


def find_projections(model: nn.Module, config: Any) -> tuple[Projection, ...]:
    """The feed-forward projections of `model`, in the order of its layers.

    Raises:
        UnknownArchitectureError: none were found, or not on every decoder layer.
    """
    pattern = FEED_FORWARD.get(config.model_type)
    found = _by_name(model, pattern) if pattern else _by_structure(model, config)
    layers = {projection.layer for projection in found}
    if layers != set(range(config.num_hidden_layers)):
        raise UnknownArchitectureError(
            f"cannot find the feed-forward projections of a {config.model_type!r} model: {len(layers)} of "
            f"{config.num_hidden_layers} decoder layers have any that are known. Architectures that work: "
            f"{', '.join(sorted(FEED_FORWARD))}, and those built alike."
        )
    return tuple(sorted(found, key=lambda projection: projection.layer))


def decoder_layers(model: nn.Module, projections: tuple[Projection, ...]) -> list[nn.Module]:
    """The decoder's layers, first to last: the modules that the projections lie in."""
    paths = {}
    for projection in projections:
        parts = projection.name.split(".")
        paths[projection.layer] = ".".join(parts[: parts.index(str(projection.layer)) + 1])
    return [model.get_submodule(paths[layer]) for layer in sorted(paths)]


def _by_name(model: nn.Module, pattern: re.Pattern[str]) -> list[Projection]:
    found = []
    for name, module in model.named_modules():
        match = pattern.search(name)
        if match and isinstance(module, nn.Linear | Conv1D):
            found.append(_describe(name, int(match.group(1)), module))
    return found


def _by_structure(model: nn.Module, config: Any) -> list[Projection]:
    """Linear modules outside attention that widen the hidden size, or narrow back to it, in every decoder layer."""
    found: list[Projection] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or len(module) != config.num_hidden_layers:
            continue
        for layer, block in enumerate(module):
            linears = [
                _describe(f"{name}.{layer}.{inner}", layer, part)
                for inner, part in block.named_modules()
                if isinstance(part, nn.Linear | Conv1D) and "att" not in inner.lower()
            ]
            hidden = config.hidden_size
            found += [p for p in linears if (p.d_in == hidden and p.d_out > hidden) or (p.d_out == hidden < p.d_in)]
    return found


def _describe(name: str, layer: int, module: nn.Module) -> Projection:
    if isinstance(module, Conv1D):
        d_in, d_out = module.weight.shape
        return Projection(name, layer, int(d_in), int(d_out), transposed=True)
    assert isinstance(module, nn.Linear)  # noqa: S101  (narrowing for the type checker; callers filter)
    return Projection(name, layer, module.in_features, module.out_features, transposed=False)
