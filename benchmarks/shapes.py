"""Llamas of known models' shapes and random weights, for what a GPU gains. Nothing is downloaded.

Must not know what is measured on them.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from benchmarks.material import base_folder
from engine.base import Base, load_base

_SEED = 20240


@dataclass(frozen=True)
class Shape:
    """A Llama's size, and what is to be reached on it.

    Args:
        candidates: that train at once.
        target: how many times as fast as PEFT's they shall be.
        step_ms: most a decoding step of 64 rows of 64 users shall take.
        job_seconds: most a whole standard job of a user with 200 samples shall take.
    """

    name: str
    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    intermediate: int
    vocabulary: int
    candidates: int
    target: float
    step_ms: float | None = None
    job_seconds: float | None = None


SHAPES = (
    Shape(
        "135 M", 576, 30, 9, 3, 1536, 49152, candidates=32, target=25.0, step_ms=2.0, job_seconds=20.0
    ),  # SmolLM-135M
    Shape("1 B", 2048, 16, 32, 8, 8192, 128256, candidates=16, target=8.0),  # Llama 3.2 1B
    Shape(
        "7 B", 4096, 32, 32, 32, 11008, 32000, candidates=6, target=3.0, step_ms=6.0, job_seconds=240.0
    ),  # Llama 2 7B
)


def random_base(shape: Shape, device: str, dtype: torch.dtype) -> tuple[Base, torch.nn.Module]:
    """A base of this shape for the engine, and the same weights for the peer."""
    config = AutoConfig.for_model(
        "llama",
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        intermediate_size=shape.intermediate,
        vocab_size=shape.vocabulary,
        max_position_embeddings=2048,
        eos_token_id=5,
        pad_token_id=1,
        bos_token_id=0,
    )
    torch.manual_seed(_SEED)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    # Copied before the engine takes over its attention.
    peers = copy.deepcopy(model).eval().requires_grad_(False)
    return Base(model, AutoTokenizer.from_pretrained(base_folder()), name=shape.name, digest=""), peers


def saved_base(shape: Shape, folder: Path, device: str = "cuda", dtype: torch.dtype = torch.bfloat16) -> Base:
    """A base of this shape in a folder, where peers find it too."""
    _, model = random_base(shape, device, dtype)
    model.save_pretrained(folder)  # type: ignore[operator]  # transformers'
    AutoTokenizer.from_pretrained(base_folder()).save_pretrained(folder)
    name = str(dtype).removeprefix("torch.")
    return load_base(str(folder), device=device, dtype=name, threads=os.cpu_count() or 1)
