"""The keys and values of the rows now being decoded: each row in a place of its own, filled from the left.

A row joins by having its prompt's keys copied into a free place, and leaves by giving its place to the last row, so
neither touches the other rows. Must not know tokens, stacks or who decodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from engine import row_attention
from engine.attention import Kind, Packed, visible

PLACES = 64
"""Tokens a row has room for at first, and the least that room grows by."""


class KeyValues:
    """Keys and values by attention layer, rows x heads x places x dim."""

    def __init__(self) -> None:
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._rows = self._places = 0
        self.lengths: list[int] = []

    def prompts(self, lengths: Sequence[int]) -> Packed:
        """The layout to read these prompts in; they join as rows behind those there are."""
        first = len(self.lengths)
        self.lengths += lengths
        self._reserve(len(self.lengths), max(self.lengths))

        def keep(kind: Kind, key: Tensor, value: Tensor) -> None:
            keys, values = self.of(kind.layer, key, value)
            start = 0
            for row, length in enumerate(lengths, start=first):
                keys[row, :, :length] = key[0, :, start : start + length]
                values[row, :, :length] = value[0, :, start : start + length]
                start += length

        return Packed(lengths, keep)

    def step(self, device: torch.device) -> Decoding:
        """The layout of one new token for every row."""
        before = list(self.lengths)
        self.lengths = [length + 1 for length in before]
        self._reserve(len(self.lengths), max(self.lengths))
        return Decoding(self, before, device)

    def leave(self, row: int) -> None:
        """Give the row's place to the last one."""
        last = len(self.lengths) - 1
        if row != last:
            length = self.lengths[last]
            for keys, values in self._layers.values():
                keys[row, :, :length] = keys[last, :, :length]
                values[row, :, :length] = values[last, :, :length]
            self.lengths[row] = length
        self.lengths.pop()

    def of(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Where this layer's keys and values lie, of all places: `key` and `value` tell what they look like."""
        if layer not in self._layers:
            shape = (self._rows, key.shape[1], self._places)
            self._layers[layer] = (
                key.new_zeros(*shape, key.shape[3]),
                value.new_zeros(*shape, value.shape[3]),
            )
        return self._layers[layer]

    def _reserve(self, rows: int, places: int) -> None:
        if rows <= self._rows and places <= self._places:
            return
        # Room for twice as much: however many rows and tokens come, each is copied a few times at most.
        new_rows = self._rows if rows <= self._rows else max(rows, 2 * self._rows)
        new_places = self._places if places <= self._places else max(places + PLACES // 2, 2 * self._places, PLACES)
        for layer, pair in self._layers.items():
            grown = []
            for old in pair:
                new = old.new_zeros(new_rows, old.shape[1], new_places, old.shape[3])
                new[: self._rows, :, : self._places] = old
                grown.append(new)
            self._layers[layer] = (grown[0], grown[1])
        self._rows, self._places = new_rows, new_places


class Decoding:
    """One new token for every row, looking at the row's own past.

    Args:
        before: how many tokens each row had.
    """

    def __init__(self, kept: KeyValues, before: Sequence[int], device: torch.device) -> None:
        self._kept = kept
        self._places = np.array(before, dtype=np.int64)
        self._on_device = torch.from_numpy(self._places).to(device)
        self._width = max(before) + 1
        self._masks: dict[int | None, Tensor] = {}

    def positions(self, device: torch.device) -> Tensor:  # noqa: ARG002 - they are there already
        return self._on_device.unsqueeze(1)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, kind: Kind) -> Tensor:
        keys, values = self._kept.of(kind.layer, key, value)
        if kind.softcap is None and row_attention.takes(query, keys):
            query, key, value = query[:, :, 0], key[:, :, 0], value[:, :, 0]
            out = row_attention.attend_rows(
                query, key, value, keys, values, self._places, scale=kind.scale, window=kind.window
            )
            return out.unsqueeze(1)
        rows, heads, _, dim = query.shape
        index = torch.arange(rows, device=query.device)
        keys[index, :, self._on_device], values[index, :, self._on_device] = key[:, :, 0], value[:, :, 0]
        keys, values = keys[:rows, :, : self._width], values[:rows, :, : self._width]
        # Heads that share keys and values are the several queries of one head.
        shared = query.reshape(rows, keys.shape[1], heads // keys.shape[1], dim)
        mask = self._mask(kind.window)
        if kind.softcap is None:
            out = scaled_dot_product_attention(shared, keys, values, attn_mask=mask, scale=kind.scale)
        else:
            scores = torch.matmul(shared, keys.transpose(2, 3)).float() * kind.scale
            scores = kind.softcap * torch.tanh(scores / kind.softcap)
            weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1).to(values.dtype)
            out = torch.matmul(weights, values)
        return out.reshape(rows, 1, heads, values.shape[3])

    def _mask(self, window: int | None) -> Tensor:
        """Rows x 1 x 1 x width: where a row may look. The same for all alike layers."""
        if window not in self._masks:
            columns = torch.arange(self._width, device=self._on_device.device)
            self._masks[window] = visible(self._on_device[:, None], columns, window)[:, None, None, :]
        return self._masks[window]
