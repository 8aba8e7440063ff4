"""The peers of the benchmarks: transformers' model as anybody loads it, and stacks of ours as PEFT adapters on it.

Must not know engines, jobs or what is measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from engine.base import Base
from engine.configuration import Configuration
from engine.stack import Stack, active_projections


def fresh_model(base: Base) -> Any:
    """The base's weights as transformers loads them: same precision and device, nothing of ours on them."""
    # The kind of attention transformers chooses by itself.
    model = AutoModelForCausalLM.from_pretrained(base.name, dtype=base.dtype)
    return nn.Module.to(model, base.device).eval()


def endless(model: Any) -> Any:
    """The model without tokens that end an answer, so that all answers are equally long."""
    model.config.eos_token_id = model.generation_config.eos_token_id = None
    return model


def padding_id(base: Base) -> int:
    """What fills padded places; never attended to."""
    return base.format.end_id


def lora_config(base: Base, configuration: Configuration) -> Any:
    """The one LoRA that is the same function as a configuration's stack: rank n * r, scale 1."""
    rank = configuration.total_rank
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.0,
        bias="none",
        target_modules=[p.name for p in active_projections(base.projections, configuration)],
        fan_in_fan_out=any(p.transposed for p in base.projections),
    )


def adapted(model: Any, config: Any, name: str, **how: Any) -> Any:
    """The model wrapped by PEFT, with one new adapter."""
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 by a name that is on its way out.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        return get_peft_model(model, config, adapter_name=name, **how)


def with_adapters(base: Base, model: Any, stacks: dict[str, Stack]) -> Any:
    """The model with every stack as an adapter of its name, in the base's precision."""
    wrapped: Any = None
    for name, stack in stacks.items():
        config = lora_config(base, stack.configuration)
        if wrapped is None:
            wrapped = adapted(model, config, name, autocast_adapter_dtype=False)
        else:
            wrapped.add_adapter(name, config, autocast_adapter_dtype=False)
        set_peft_model_state_dict(wrapped, adapter_state(stack), adapter_name=name)
    nn.Module.to(wrapped, device=base.device, dtype=base.dtype)
    return wrapped.eval()


def adapter_state(stack: Stack) -> dict[str, Tensor]:
    """A stack under PEFT's names."""
    state = {}
    for name, a in stack.a.items():
        state[f"base_model.model.{name}.lora_A.weight"] = a
        state[f"base_model.model.{name}.lora_B.weight"] = stack.b[name]
    return state


def padded(base: Base, prompts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Prompts as one batch, padded on the left, as `generate` wants them."""
    width = max(map(len, prompts))
    ids = [[padding_id(base)] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {
        "input_ids": torch.tensor(ids, device=base.device),
        "attention_mask": torch.tensor(mask, device=base.device),
    }
