"""Tiny random models of every supported architecture, written to a folder as a user would have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OlmoConfig,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

BASE_MODEL = Path(__file__).resolve().parents[2] / "base_model"

_ROPE = {
    "vocab_size": 8192,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "eos_token_id": 5,
    "pad_token_id": 1,
    "bos_token_id": 0,
}

CONFIGS: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**_ROPE),
    "mistral": lambda: MistralConfig(**_ROPE, sliding_window=16),
    "qwen2": lambda: Qwen2Config(**_ROPE),
    "qwen3": lambda: Qwen3Config(**_ROPE),
    "gemma": lambda: GemmaConfig(**_ROPE),
    "gemma2": lambda: Gemma2Config(**_ROPE, sliding_window=16, query_pre_attn_scalar=8),
    "gemma3": lambda: Gemma3TextConfig(**_ROPE, sliding_window=16, query_pre_attn_scalar=8),
    "gpt2": lambda: GPT2Config(
        vocab_size=8192, n_embd=32, n_inner=48, n_layer=3, n_head=4, n_positions=256, eos_token_id=5, bos_token_id=0
    ),
    "roberta": lambda: RobertaConfig(
        vocab_size=8192,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=258,
        is_decoder=True,
        eos_token_id=5,
        pad_token_id=1,
        bos_token_id=0,
    ),
    "olmo (not in the table)": lambda: OlmoConfig(**{k: v for k, v in _ROPE.items() if k != "head_dim"}),
}


def save_tiny_model(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a random model of `family` with a tokenizer that fits it; GPT-2 and RoBERTa have no chat template."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[family]())
    # Random weights of the usual tiny scale make all logits alike; larger ones make answers differ.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(BASE_MODEL)
    if family in ("gpt2", "roberta"):
        tokenizer.chat_template = None
    if family == "roberta":
        tokenizer.cls_token = "<|endoftext|>"
    tokenizer.save_pretrained(folder)
    return folder
