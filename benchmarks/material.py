"""What benchmarks work on: the base, prompts of an example history, and generated stacks.

Must not know what is measured with them.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from benchmarks.results_file import ROOT
from engine.base import Base, load_base
from engine.configuration import Configuration
from engine.history import Sample, Split, split_in_time
from engine.stack import Stack, active_projections
from workers.search.space import SearchSpace, default_max_total_rank

EXAMPLE = ROOT / "examples" / "diabetes-patient.jsonl"
STACK_SCALE = 0.02
"""Standard deviation of a generated stack's numbers: small, as after training, so that answers stay finite."""

Mix = Callable[[Base, int], Configuration]
"""The configuration of a user's stack, by the user's number."""


@dataclass(frozen=True)
class History:
    """A user's history as a job has it."""

    user: str
    profile: str
    split: Split[Sample]


def history(path: Path | None = None, user: str | None = None) -> History:
    """One user's history; without arguments what DATA= and USER= name, else an example.

    USER is often the account's name: it counts only where DATA is given too.

    Raises:
        ValueError: the file holds no such user.
    """
    path = path or Path(os.environ.get("DATA") or EXAMPLE)
    user = user or (os.environ.get("USER") if os.environ.get("DATA") else None)
    people = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    # One user in the file needs no name.
    chosen = [p for p in people if len(people) == 1 or p["user_id"] == user]
    if not chosen:
        raise ValueError(f"{path} holds no user {user!r}: set USER= to one of {[p['user_id'] for p in people][:10]}")
    samples = [Sample(s["query"], s["response"]) for s in chosen[0]["samples"]]
    return History(chosen[0]["user_id"], chosen[0].get("profile", ""), split_in_time(samples))


def of_length(person: History, samples: int) -> History:
    """A history of so many samples: the person's, again and again, numbered, for none is kept twice."""
    own = [*person.split.train, *person.split.validation, *person.split.test]
    longer = [replace(own[i % len(own)], query=f"{own[i % len(own)].query} {i // len(own)}") for i in range(samples)]
    return History(person.user, person.profile, split_in_time(longer))


def base_folder() -> str:
    """The base that is measured: BASE=, else the small one of this repository."""
    return os.environ.get("BASE") or str(ROOT / "base_model")


def service_base() -> Base:
    """The base as the service loads it, on all cores."""
    return load_base(base_folder(), threads=os.cpu_count() or 1)


def tiny_base(folder: Path) -> Base:
    """A base of random weights that takes next to nothing, saved in the folder, with the small base's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "base_model")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_base(str(folder), threads=os.cpu_count() or 1)


def default_lora(base: Base, user: int) -> Configuration:  # noqa: ARG001 - a Mix
    """Every user has one LoRA of rank 16 on every layer."""
    return Configuration.default_lora(base.n_layers)


def searched(base: Base, user: int) -> Configuration:
    """Users have whatever a search could have chosen for them."""
    space = SearchSpace(base.n_layers, default_max_total_rank(base.hidden_size))
    return space.random(random.Random(user))


MIXES: dict[str, Mix] = {"default LoRA": default_lora, "searched": searched}


def generated_stack(base: Base, configuration: Configuration, seed: int) -> Stack:
    """A stack of random numbers in the base's precision, on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    chosen, rank = active_projections(base.projections, configuration), configuration.total_rank

    def drawn(*shape: int) -> torch.Tensor:
        return (STACK_SCALE * torch.randn(*shape, generator=generator)).to(base.dtype)

    a = {p.name: drawn(rank, p.d_in) for p in chosen}
    return Stack(configuration, a, {p.name: drawn(p.d_out, rank) for p in chosen})
