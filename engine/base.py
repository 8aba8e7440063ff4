"""The shared frozen base: loaded once per process, with a place on every feed-forward projection where stacks add.

Knows the model's insides; must not know training, decoding or stores. Several threads may run forwards at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from engine.attention import IMPLEMENTATION, Layout, Packed, laid_out, rotate_within
from engine.base_folder import base_folder, folder_digest
from engine.errors import BaseModelError, UnknownArchitectureError
from engine.fused_layers import fuse
from engine.grouped import Route, Routing, StackRouter
from engine.layers import LayerGate, Span
from engine.packed_weights import pack
from engine.projections import Projection, decoder_layers, find_projections
from engine.prompts import PromptFormat

_POSITIONS_AFTER_PADDING = {"roberta"}
"""Model types whose position ids begin after the padding id (fairseq's convention)."""


class Base:
    """A frozen causal LM with its tokenizer, its projections and its identity.

    Attributes:
        name: folder or hub name it was loaded from.
        digest: SHA-256 (hex) over its configuration and weight files; stacks are bound to it.
        n_layers, hidden_size, context_length: of the decoder.
        projections: feed-forward projections, in layer order.
        format: how messages become ids.
        end_ids: tokens that end an answer.
        threads: of a CPU that its forwards may use, all together.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, name: str, digest: str) -> None:
        config = model.config.get_text_config()  # type: ignore[operator,union-attr]  # a transformers config
        self.projections: tuple[Projection, ...] = find_projections(model, config)
        self.model = model.eval().requires_grad_(False)
        self.name = name
        self.digest = digest
        self.threads = torch.get_num_threads()
        self.model_type: str = config.model_type
        self.n_layers: int = config.num_hidden_layers
        self.hidden_size: int = config.hidden_size
        self.vocabulary_size: int = config.vocab_size
        self.position_offset = config.pad_token_id + 1 if self.model_type in _POSITIONS_AFTER_PADDING else 0
        self.context_length: int = _positions(config) - self.position_offset
        self.format = PromptFormat(tokenizer)
        self.end_ids = frozenset({self.format.end_id, *_generation_ends(model)})
        self._decoder: nn.Module = model.base_model  # type: ignore[assignment]  # a module, of any model
        self._head: nn.Module = model.lm_head  # type: ignore[assignment]  # likewise
        self._softcap: float | None = getattr(config, "final_logit_softcapping", None)
        expected = self._own_logits()
        pack(self.model)
        fuse(self.model)
        rotate_within(self.model)
        self._check(expected)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    def hidden_states(self, ids: Tensor, layout: Layout, *, route: Routing, span: Span | None = None) -> Tensor:
        """Last hidden states (rows x tokens x hidden) of `ids` (rows x tokens), which lie as `layout` says.

        Args:
            route: which tokens, row by row, go through which stack.
            span: the layers to run; None for all. What its last one gave is then in the span.
        """
        positions = layout.positions(ids.device) + self.position_offset
        with self._router.routing(route), self._gate.only(span), laid_out(layout):
            output = self._decoder(input_ids=ids, position_ids=positions, use_cache=False)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits (... x vocabulary, float32) of hidden states (... x hidden)."""
        logits: Tensor = self._head(hidden).float()
        if self._softcap:
            logits = self._softcap * torch.tanh(logits / self._softcap)
        return logits

    @property
    def plain_head(self) -> nn.Module | None:
        """The head, where it alone makes the logits; None where they are bent afterwards."""
        return None if self._softcap else self._head

    @torch.inference_mode()
    def _own_logits(self) -> list[Tensor]:
        """What transformers itself computes for the sequences of `_check`: tokens x vocabulary each."""
        logits = []
        for ids in self._probes():
            positions = torch.arange(len(ids), device=self.device).unsqueeze(0) + self.position_offset
            logits.append(self.model(input_ids=ids.unsqueeze(0), position_ids=positions).logits[0].float())
        return logits

    @torch.inference_mode()
    def _check(self, expected: list[Tensor]) -> None:
        """Take over attention and layers, and make sure that the model computes what it did, for any architecture."""
        self.model.set_attn_implementation(IMPLEMENTATION)  # type: ignore[operator]  # transformers'
        self._router = StackRouter(self.model, self.projections)
        self._gate = LayerGate(decoder_layers(self.model, self.projections))
        probes = self._probes()
        packed = Packed([len(ids) for ids in probes])
        ids, middle = torch.cat(probes).unsqueeze(0), self.n_layers // 2
        lower = Span(0, middle)
        self.hidden_states(ids, packed, route=Route.base(), span=lower)
        halves = self.hidden_states(ids, packed, route=Route.base(), span=Span(middle, self.n_layers, lower.reached))
        # bfloat16 has eight bits: sums in another order differ by some hundredths of the largest logit.
        tolerance = 1e-3 if self.dtype == torch.float32 else 5e-2
        for hidden in (self.hidden_states(ids, packed, route=Route.base()), halves):
            found = self.logits(hidden)[0]
            whole = torch.cat(expected)
            if (found - whole).abs().max() > tolerance * max(1.0, float(whole.abs().max())):
                raise UnknownArchitectureError(
                    f"a {self.model_type!r} model computes its attention or its logits in a way that is not known here."
                )

    def _probes(self) -> list[Tensor]:
        """Two sequences of unlike length."""
        ids = torch.arange(7, device=self.device) % self.vocabulary_size
        return [ids[:4], ids[2:]]


def load_base(name: str, *, device: str = "auto", dtype: str = "auto", threads: int = 0) -> Base:
    """Load the base from a local folder or by its Hugging Face name.

    Args:
        device: "auto" (CUDA, else MPS, else CPU) or a torch device.
        dtype: "auto" (bfloat16 where the hardware computes it fast, else float32) or a torch dtype's name.
        threads: torch's CPU threads in this process; 0 leaves torch's own choice.

    Raises:
        BaseModelError: nothing loadable there.
        UnknownArchitectureError: its feed-forward projections are not known.
    """
    if threads:
        torch.set_num_threads(threads)
    transformers_logging.disable_progress_bar()
    folder = base_folder(name)
    where, precision = hardware(device, dtype)
    try:
        config = AutoConfig.from_pretrained(folder)
        if config.model_type in _POSITIONS_AFTER_PADDING:
            config.is_decoder = True  # otherwise attention would look ahead
        tokenizer = AutoTokenizer.from_pretrained(folder)
        # Never pickle: it runs code, and the digest is over safetensors.
        model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=precision, use_safetensors=True)
    except Exception as error:  # readers of configs, tokenizers and weights each raise kinds of their own
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BaseModelError(
            f"{name!r} holds no causal language model that can be loaded: {first_line} "
            "Name a folder with config.json, tokenizer and safetensors weights, or a Hugging Face model."
        ) from error
    nn.Module.to(model, where)
    return Base(model, tokenizer, name=name, digest=folder_digest(folder))


def hardware(device: str = "auto", dtype: str = "auto") -> tuple[torch.device, torch.dtype]:
    """Where a base would be loaded on this machine and in which precision; arguments as `load_base` takes them."""
    where = _device(device)
    return where, _dtype(dtype, where)


def _device(device: str) -> torch.device:
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and _cpu_computes_bfloat16():
        return torch.bfloat16
    return torch.float32


def _cpu_computes_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AMX or AVX-512 BF16); emulated, it is slower than float32."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def _positions(config: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int):
        raise UnknownArchitectureError(
            f"a {config.model_type!r} model is no transformer with a known context length: choose another base."
        )
    return positions


def _generation_ends(model: nn.Module) -> list[int]:
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return [] if ends is None else list(ends) if isinstance(ends, list | tuple) else [ends]
