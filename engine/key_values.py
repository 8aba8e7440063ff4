"""The keys and values of the rows now being decoded: each row in a place of its own, filled from the left.

A row joins by having its prompt's keys copied into a free place, and leaves by giving its place to the last row, so
neither touches the other rows. Must not know tokens, stacks or who decodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from engine.attention import Kind, Packed, visible

PLACES = 64
"""Tokens a row has room for at first, and the least that room grows by."""


class KeyValues:
    """Keys and values by attention layer, rows x heads x places x dim.

    Args:
        dtype: they are kept in; None keeps what the layers compute. A CPU attends faster in float32.
    """

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        self._dtype = dtype
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._rows = self._places = 0
        self.lengths: list[int] = []

    def prompts(self, lengths: Sequence[int]) -> Packed:
        """The layout to read these prompts in; they join as rows behind those there are."""
        first = len(self.lengths)
        self.lengths += lengths
        self._reserve(len(self.lengths), max(self.lengths))

        def keep(kind: Kind, key: Tensor, value: Tensor) -> None:
            keys, values = self._layer(kind.layer, key, value)
            start = 0
            for row, length in enumerate(lengths, start=first):
                keys[row, :, :length] = key[0, :, start : start + length]
                values[row, :, :length] = value[0, :, start : start + length]
                start += length

        return Packed(lengths, keep)

    def step(self, device: torch.device) -> Decoding:
        """The layout of one new token for every row."""
        before = torch.tensor(self.lengths, device=device)
        self.lengths = [length + 1 for length in self.lengths]
        self._reserve(len(self.lengths), max(self.lengths))
        return Decoding(self, before, max(self.lengths))

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

    def written(self, layer: int, key: Tensor, value: Tensor, places: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """Put one token's key and value (rows x heads x 1 x dim) at `places` (rows); all up to `width` come back."""
        keys, values = self._layer(layer, key, value)
        rows = len(places)
        index = torch.arange(rows, device=places.device)
        keys[index, :, places] = key[:, :, 0].to(keys.dtype)
        values[index, :, places] = value[:, :, 0].to(values.dtype)
        return keys[:rows, :, :width], values[:rows, :, :width]

    def _layer(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if layer not in self._layers:
            shape = (self._rows, key.shape[1], self._places)
            self._layers[layer] = (
                key.new_zeros(*shape, key.shape[3], dtype=self._dtype or key.dtype),
                value.new_zeros(*shape, value.shape[3], dtype=self._dtype or value.dtype),
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
        places: how many tokens each row had before (rows).
        width: tokens of the longest row, the new one included.
    """

    def __init__(self, kept: KeyValues, places: Tensor, width: int) -> None:
        self._kept = kept
        self._places = places
        self._width = width
        self._masks: dict[int | None, Tensor] = {}

    def positions(self, device: torch.device) -> Tensor:  # noqa: ARG002 - they are there already
        return self._places.unsqueeze(1)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, kind: Kind) -> Tensor:
        keys, values = self._kept.written(kind.layer, key, value, self._places, self._width)
        rows, heads, _, dim = query.shape
        # Heads that share keys and values are the several queries of one head.
        shared = query.reshape(rows, keys.shape[1], heads // keys.shape[1], dim).to(keys.dtype)
        if kind.softcap is None:
            out = scaled_dot_product_attention(
                shared, keys, values, attn_mask=self._mask(kind.window, keys.dtype), scale=kind.scale
            )
        else:
            scores = torch.matmul(shared, keys.transpose(2, 3)).float() * kind.scale
            scores = kind.softcap * torch.tanh(scores / kind.softcap) + self._mask(kind.window, torch.float32)
            out = torch.matmul(torch.softmax(scores, dim=-1).to(values.dtype), values)
        return out.reshape(rows, 1, heads, values.shape[3]).to(query.dtype)

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """Rows x 1 x 1 x width: zero where a row may look, minus infinity elsewhere. The same for all alike layers."""
        if window not in self._masks:
            columns = torch.arange(self._width, device=self._places.device)
            allowed = visible(self._places[:, None], columns, window)
            mask = torch.zeros(allowed.shape, device=columns.device, dtype=dtype)
            self._masks[window] = mask.masked_fill_(~allowed, float("-inf"))[:, None, None, :]
        return self._masks[window]
