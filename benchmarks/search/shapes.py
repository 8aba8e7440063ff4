"""Candidate-steps per second on Llamas of 135 million, 1 and 7 billion random parameters: what a GPU gains.

Nothing is downloaded: only shapes are those of known models. Must not know searches.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from benchmarks.material import History, base_folder
from benchmarks.results_file import Row, compared
from benchmarks.rounds import in_turn
from benchmarks.search.steps import OURS, PEFT, Trained, agreement, ours, peft
from benchmarks.search.task import SEED, Task
from engine.base import Base
from engine.learner import Candidate
from workers.search.space import SearchSpace

MOST_RANK = 128
"""Largest total rank of a candidate: with 512, the optimisers of a 7 B model's candidates alone would fill a GPU."""


@dataclass(frozen=True)
class Shape:
    """A Llama's size, how many candidates train at once on it, and how many times as fast as PEFT they shall be."""

    name: str
    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    intermediate: int
    vocabulary: int
    candidates: int
    target: float


SHAPES = (
    Shape("135 M", 576, 30, 9, 3, 1536, 49152, candidates=32, target=25.0),  # SmolLM-135M
    Shape("1 B", 2048, 16, 32, 8, 8192, 128256, candidates=16, target=8.0),  # Llama 3.2 1B
    Shape("7 B", 4096, 32, 32, 32, 11008, 32000, candidates=6, target=3.0),  # Llama 2 7B
)


def measure(
    shape: Shape,
    history: History,
    threads: int,
    *,
    repeats: int,
    train_samples: int,
    device: str = "cuda",
    dtype: torch.dtype = torch.bfloat16,
) -> list[Row]:
    """One shape's rows."""
    base, model = random_base(shape, device, dtype)
    task = Task.of(base, history).shorter(train_samples)
    candidates = drawn(base, shape.candidates)
    found: dict[str, list[Trained]] = in_turn(
        {OURS: partial(ours, task, candidates), PEFT: partial(peft, task, candidates, lambda: model)},
        repeats,
        threads=threads,
    )
    speeds = {name: [task.steps * len(candidates) / one.seconds for one in runs] for name, runs in found.items()}
    memory = {name: [one.mebibytes for one in runs] for name, runs in found.items()}
    what = f"{shape.name}, random weights, {len(candidates)} candidates"
    return [
        compared(what, "candidate-steps/s", speeds[OURS], speeds[PEFT], PEFT, shape.target),
        compared(f"{what}: memory beside the base", "MiB", memory[OURS], memory[PEFT], PEFT),
        agreement(found[OURS][0], found[PEFT][0]),
    ]


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
    torch.manual_seed(SEED)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    # Copied before the engine takes over its attention.
    peers = copy.deepcopy(model).eval().requires_grad_(False)
    return Base(model, AutoTokenizer.from_pretrained(base_folder()), name=shape.name, digest=""), peers


def drawn(base: Base, count: int) -> Sequence[Candidate]:
    """Candidates as a search could propose them; always the same."""
    space, rng = SearchSpace(base.n_layers, min(MOST_RANK, base.hidden_size // 2)), random.Random(SEED)
    return [Candidate(str(i), space.random(rng), seed=i) for i in range(count)]
