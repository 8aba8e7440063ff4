"""A stack as PEFT's two files: adapter_config.json and adapter_model.safetensors, as bytes, and back.

The concatenated stack is one LoRA of rank n * r with lora_alpha equal to it (scale 1), so that
`PeftModel.from_pretrained` and vLLM load it as it is. safetensors only, never pickle. Must not know where files are.
"""

from __future__ import annotations

import json
import re
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from adapters_store.errors import AdapterCorruptError
from engine.configuration import Configuration
from engine.errors import StackMismatchError
from engine.stack import Stack

_PRECISIONS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_KEY = re.compile(r"base_model\.model\.(?P<name>.+)\.lora_(?P<side>[AB])\.weight")


def weights_to_bytes(stack: Stack) -> bytes:
    """The safetensors file of a stack. The same stack always gives the same bytes."""
    tensors = {
        _key(name, side): _plain(t) for side, half in (("A", stack.a), ("B", stack.b)) for name, t in half.items()
    }
    return bytes(tensor_bytes(tensors, metadata={"format": "pt"}))


def weights_from_bytes(data: bytes, configuration: Configuration) -> Stack:
    """The stack in a safetensors file, on the CPU, in the precision it was saved in.

    Raises:
        AdapterCorruptError: these bytes are no safetensors file.
        StackMismatchError: a tensor that is no A or B of a projection, or of another kind of numbers.
    """
    try:
        tensors = parse_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise AdapterCorruptError(f"the weights are no readable safetensors file ({error}).") from error
    halves: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if not match:
            raise StackMismatchError(
                f"the tensor {key!r} belongs to no LoRA of a projection. Only stacks that this store published load."
            )
        if tensor.dtype not in _PRECISIONS:
            raise StackMismatchError(f"the tensor {key!r} holds {tensor.dtype}. Only stacks of plain floats load.")
        halves[match["side"]][match["name"]] = tensor
    return Stack(configuration, halves["A"], halves["B"])


def adapter_config_bytes(stack: Stack, base_name: str, *, fan_in_fan_out: bool) -> bytes:
    """PEFT's adapter_config.json for a stack.

    Args:
        base_name: the base's folder or Hugging Face name, for whoever loads the folder later.
        fan_in_fan_out: whether the base keeps these weights transposed (GPT-2's Conv1D).
    """
    # Loaded here: PEFT brings transformers, which answering from a store does not need.
    from peft import LoraConfig, TaskType

    rank = stack.configuration.total_rank
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        base_model_name_or_path=base_name,
        inference_mode=True,
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.0,
        bias="none",
        target_modules=sorted(stack.a),
        fan_in_fan_out=fan_in_fan_out,
    )
    return (json.dumps(config.to_dict(), default=_plain_json, indent=2, sort_keys=True) + "\n").encode()


def check_publishable(stack: Stack) -> None:
    """Refuse to keep a stack that could never be loaded again.

    Raises:
        StackMismatchError: it trains nothing, its A's and B's do not belong together, or a value is not finite.
    """
    rank = stack.configuration.total_rank
    if stack.configuration.is_base or not stack.a:
        raise StackMismatchError("this configuration is the base itself: there is no stack to keep.")
    if set(stack.a) != set(stack.b):
        odd = sorted(set(stack.a) ^ set(stack.b))[0]
        raise StackMismatchError(f"the stack has only one of A and B for {odd!r}; train this trial again.")
    for side, half, axis in (("A", stack.a, 0), ("B", stack.b, 1)):
        for name, tensor in half.items():
            if tensor.ndim != 2 or tensor.shape[axis] != rank:
                raise StackMismatchError(f"{side} of {name!r} has shape {tuple(tensor.shape)}, but its rank is {rank}.")
            if not torch.isfinite(tensor).all():
                raise StackMismatchError(f"{side} of {name!r} has NaN or infinite values; train this trial again.")


def _key(name: str, side: str) -> str:
    return f"base_model.model.{name}.lora_{side}.weight"


def _plain(tensor: Tensor) -> Tensor:
    # A copy: candidates trained together share one bank, and safetensors refuses tensors that share storage.
    return tensor.detach().to("cpu", copy=True).contiguous()


def _plain_json(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{value!r} has no place in an adapter_config.json")
