"""The keys and values of the rows now being decoded: each row in a place of its own, filled from the left.

A row joins by having its prompt's keys copied into a free place, those that were read before too, and leaves by giving
its place to the last row, so neither touches the other rows. Must not know tokens, stacks or who decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from engine import fused_attention, row_attention
from engine.attention import Kind, Packed, looking_back, visible
from engine.fused_attention import Heads, Rotary
from engine.prefixes import Layers, Past

PLACES = 64
"""Tokens a row has room for at first, and the least that room grows by."""


class KeyValues:
    """Keys and values by attention layer, rows x heads x places x dim.

    Attributes:
        lengths: tokens of each row.
        moves: how many times everything was put elsewhere, for there was no room left.
    """

    def __init__(self) -> None:
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._rows = self._places = 0
        self.lengths: list[int] = []
        self.moves = 0

    def prompts(self, lengths: Sequence[int], pasts: Sequence[Past | None] = ()) -> Packed | Continued:
        """The layout to read these prompts in; they join as rows behind those there are.

        Args:
            lengths: tokens of each that are to be read.
            pasts: what was read of each before; none at all where there is nothing.
        """
        first = len(self.lengths)
        before = [past.length if past else 0 for past in pasts] or [0] * len(lengths)
        self.lengths += [old + new for old, new in zip(before, lengths, strict=True)]
        self._reserve(len(self.lengths), max(self.lengths))

        def keep(kind: Kind, key: Tensor, value: Tensor) -> None:
            keys, values = self.of(kind.layer, key, value)
            for row, past in enumerate(pasts, start=first):
                if past is not None:
                    old_keys, old_values = past.layers[kind.layer]
                    keys[row, :, : past.length] = old_keys[:, : past.length]
                    values[row, :, : past.length] = old_values[:, : past.length]
            start = 0
            for row, (old, length) in enumerate(zip(before, lengths, strict=True), start=first):
                keys[row, :, old : old + length] = key[0, :, start : start + length]
                values[row, :, old : old + length] = value[0, :, start : start + length]
                start += length

        return Continued(lengths, before, keep, self, first) if any(before) else Packed(lengths, keep)

    def copy(self, row: int) -> Layers:
        """All keys and values of the row, for whoever keeps them."""
        length = self.lengths[row]
        return {
            layer: (keys[row, :, :length].clone(), values[row, :, :length].clone())
            for layer, (keys, values) in self._layers.items()
        }

    def row(self, layer: int, row: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one row of one layer: heads x tokens x dim."""
        keys, values = self._layers[layer]
        return keys[row, :, : self.lengths[row]], values[row, :, : self.lengths[row]]

    def step(self, device: torch.device) -> Decoding:
        """The layout of one new token for every row."""
        before = np.array(self.extend(), dtype=np.int64)
        return Decoding(self, torch.from_numpy(before).to(device), int(before.max()) + 1, before)

    def extend(self, rows: int = 0, places: int = 0) -> list[int]:
        """One new token for every row; how many each had. There is room for so many rows and places at least."""
        before = list(self.lengths)
        self.lengths = [length + 1 for length in before]
        if rows or places:
            self._move(max(rows, self._rows), max(places, self._places))
        self._reserve(len(self.lengths), max(self.lengths))
        return before

    def leave(self, row: int) -> None:
        """Give the row's place to the last one.

        What is free is zero: a place that is looked past still counts, if what an earlier row left there is no number.
        """
        last, left = len(self.lengths) - 1, self.lengths[row]
        length = self.lengths[last]
        for kept in (tensor for pair in self._layers.values() for tensor in pair):
            if row != last:
                kept[row, :, :length] = kept[last, :, :length]
                kept[row, :, length:left] = 0
            kept[last, :, :length] = 0
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
        self._move(new_rows, new_places)

    def _move(self, rows: int, places: int) -> None:
        """Put everything where there is room for so many."""
        if (rows, places) == (self._rows, self._places):
            return
        for layer, pair in self._layers.items():
            grown = []
            for old in pair:
                new = old.new_zeros(rows, old.shape[1], places, old.shape[3])
                new[: self._rows, :, : self._places] = old
                grown.append(new)
            self._layers[layer] = (grown[0], grown[1])
        self._rows, self._places = rows, places
        self.moves += 1


class Continued:
    """Prompts end to end, of which some began before: each token looks at what was read of its own sequence, too.

    Args:
        lengths: new tokens of each.
        before: tokens of each that were read before.
        keep: puts a layer's keys and values, old and new, into the rows from `first` on of `kept`.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        before: Sequence[int],
        keep: Callable[[Kind, Tensor, Tensor], None],
        kept: KeyValues,
        first: int,
    ) -> None:
        self._lengths = tuple(lengths)
        self._before = tuple(before)
        self._keep = keep
        self._kept = kept
        self._first = first

    def positions(self, device: torch.device) -> Tensor:
        new = [torch.arange(old, old + n, device=device) for old, n in zip(self._before, self._lengths, strict=True)]
        return torch.cat(new).unsqueeze(0)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, kind: Kind) -> Tensor:
        self._keep(kind, key, value)
        parts, start = [], 0
        for i, (old, length) in enumerate(zip(self._before, self._lengths, strict=True)):
            keys, values = self._kept.row(kind.layer, self._first + i)
            own = query[0, :, start : start + length]
            parts.append(looking_back(own, keys, values, old, kind).transpose(0, 1))
            start += length
        return torch.cat(parts).unsqueeze(0)

    def rotates(self, hidden: Tensor) -> bool:  # noqa: ARG002 - of no prompt that began before
        return False

    def attend_rotating(self, projected: Tensor, rotary: Rotary, heads: Heads, layer: int) -> Tensor:
        raise NotImplementedError("see `rotates`")


class Decoding:
    """One new token for every row, looking at the row's own past.

    Args:
        before: how many tokens each row had (rows of int64), where the rows are decoded.
        width: places of which none beyond is looked at: more than `before`.
        places: `before` for the CPU's kernel; None: torch's operations alone.
    """

    def __init__(self, kept: KeyValues, before: Tensor, width: int, places: NDArray[np.int64] | None = None) -> None:
        self._kept = kept
        self._before = before
        self._width = width
        self._places = places
        self._masks: dict[int | None, Tensor] = {}

    def positions(self, device: torch.device) -> Tensor:  # noqa: ARG002 - they are there already
        return self._before.unsqueeze(1)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, kind: Kind) -> Tensor:
        keys, values = self._kept.of(kind.layer, key, value)
        if self._places is not None and kind.softcap is None and row_attention.takes(query, keys):
            query, key, value = query[:, :, 0], key[:, :, 0], value[:, :, 0]
            out = row_attention.attend_rows(
                query, key, value, keys, values, self._places, scale=kind.scale, window=kind.window
            )
            return out.unsqueeze(1)
        rows, heads, _, dim = query.shape
        index = torch.arange(rows, device=query.device)
        keys[index, :, self._before], values[index, :, self._before] = key[:, :, 0], value[:, :, 0]
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

    def rotates(self, hidden: Tensor) -> bool:
        return self._places is not None and fused_attention.takes(hidden, hidden.shape[-1])

    def attend_rotating(self, projected: Tensor, rotary: Rotary, heads: Heads, layer: int) -> Tensor:
        assert self._places is not None  # noqa: S101 - see `rotates`
        like = projected.view(len(projected), -1, 1, heads.dim)[:, : heads.keys]
        keys, values = self._kept.of(layer, like, like)
        return row_attention.attend_rotating_rows(projected.contiguous(), rotary, heads, keys, values, self._places)

    def _mask(self, window: int | None) -> Tensor:
        """Rows x 1 x 1 x width: where a row may look. The same for all alike layers."""
        if window not in self._masks:
            columns = torch.arange(self._width, device=self._before.device)
            self._masks[window] = visible(self._before[:, None], columns, window)[:, None, None, :]
        return self._masks[window]
