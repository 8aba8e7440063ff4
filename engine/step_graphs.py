"""Decoding steps recorded once and replayed for every token: on a GPU a step is hundreds of short kernels, and starting
them one by one takes longer than they run (CUDA graphs).

What a recording does depends on sizes alone: how many rows, how far back the longest looks, the largest rank. Sizes are
rounded up, so that few recordings serve all steps. Rows beyond those there are say token 0 at place 0, where nobody has
anything yet, and go through the base. Must not know prompts, queues or threads.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.base import Base
from engine.key_values import Decoding, KeyValues
from engine.out_of_memory import is_out_of_memory
from engine.row_route import RowRoute

WORTH_RECORDING = 3
"""Steps of one size after which it is recorded: recording takes as long as many of them."""
MOST_RECORDINGS = 32
"""Kept at a time, least recently used dropped first: each holds what its step needs for a moment."""
_LEAST_WIDTH, _LEAST_RANK, _ROWS = 64, 16, 8
_log = logging.getLogger(__name__)

Step = Callable[[], tuple[Tensor, Tensor]]
"""Logits (rows x vocabulary) and greedy next tokens (rows) of the inputs as they are."""
Record = Callable[[Step], tuple[Callable[[], None], tuple[Tensor, Tensor]] | None]
"""Makes the step once and records it: what replays it, and the outputs that each replay writes. None: it could not be
recorded, and is to be made as it is."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a recording holds room for: rows, tokens a row looks back at, and the largest rank (0: the base alone)."""

    rows: int
    width: int
    rank: int

    @classmethod
    def holding(cls, rows: int, width: int, rank: int) -> Size:
        """The smallest that is recorded and holds these."""
        even = _power_of_two(rows) if rows < _ROWS else -(-rows // _ROWS) * _ROWS
        return cls(even, max(_LEAST_WIDTH, _power_of_two(width)), rank and max(_LEAST_RANK, _power_of_two(rank)))


@dataclass(frozen=True, slots=True)
class _Recording:
    """Inputs (2 x rows: last tokens, and the places of the new ones), what replays it, and what it writes."""

    inputs: Tensor
    replay: Callable[[], None]
    logits: Tensor
    greedy: Tensor


class StepGraphs:
    """The recorded steps of one batch.

    Args:
        kept: the batch's keys and values.
        route: its rows' stacks, which the GPU's kernel can all read when `step` is called.
        record: how a step is recorded.
    """

    def __init__(self, base: Base, kept: KeyValues, route: RowRoute, record: Record) -> None:
        self._base = base
        self._kept = kept
        self._route = route
        self._record = record
        self._seen: Counter[Size] = Counter()
        self._recordings: OrderedDict[Size, _Recording] = OrderedDict()
        self._moves = (0, 0)

    @property
    def count(self) -> int:
        """Sizes that are recorded at present."""
        return len(self._recordings)

    def step(self, tokens: Sequence[int]) -> tuple[Tensor, list[int]] | None:
        """One more token for every row.

        Args:
            tokens: each row's last.

        Returns:
            Logits (rows x vocabulary) and greedy next tokens; None, and nothing done, where the step is to be made
            operation by operation.
        """
        kept, rows = self._kept, len(tokens)
        size = Size.holding(rows, max(kept.lengths) + 1, self._route.largest_rank)
        self._seen[size] += 1
        if size not in self._recordings and self._seen[size] < WORTH_RECORDING:
            return None
        places = kept.extend(size.rows, size.width)
        inputs = torch.zeros(2, size.rows, dtype=torch.int64)
        inputs[0, :rows], inputs[1, :rows] = torch.tensor(tokens), torch.tensor(places)
        logits, greedy = self._made(size, inputs)
        return logits[:rows], greedy[:rows].tolist()

    def _made(self, size: Size, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The step's logits and likeliest tokens, with room for all rows of the size."""
        self._route.make_room(size.rows)
        self._route.refresh()
        moves = (self._kept.moves, self._route.moves)
        if moves != self._moves:
            # What was recorded reads and writes where nothing lies any more.
            self._recordings.clear()
            self._seen.clear()
            self._moves = moves
        recording = self._recordings.get(size)
        if recording is None:
            return self._recorded(size, inputs)
        self._recordings.move_to_end(size)
        recording.inputs.copy_(inputs)
        recording.replay()
        return recording.logits, recording.greedy

    def _recorded(self, size: Size, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The same, recorded where that can be."""
        given = inputs.to(self._base.device)
        route = self._route.fixed(size.rank)

        def step() -> tuple[Tensor, Tensor]:
            layout = Decoding(self._kept, given[1], size.width)
            hidden = self._base.hidden_states(given[0].unsqueeze(1), layout, route=route)
            logits = self._base.logits(hidden[:, 0])
            return logits, logits.argmax(dim=-1)

        recorded = self._record(step)
        if recorded is None:
            self._recordings.clear()
            self._seen.clear()
            return step()
        replay, (logits, greedy) = recorded
        self._recordings[size] = _Recording(given, replay, logits, greedy)
        if len(self._recordings) > MOST_RECORDINGS:
            dropped, _ = self._recordings.popitem(last=False)
            del self._seen[dropped]
        replay()
        return logits, greedy


def recorder(device: torch.device) -> Record | None:
    """How one batch's steps are recorded on this device; None where they are not."""
    return _CudaGraphs() if device.type == "cuda" else None


class _CudaGraphs:
    """Records by CUDA graphs, which share their memory: none is played while another's outputs are still needed."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        self._pool = torch.cuda.graph_pool_handle()
        self._never = False

    def __call__(self, step: Step) -> tuple[Callable[[], None], tuple[Tensor, Tensor]] | None:
        if self._never:
            return None
        current = torch.cuda.current_stream()
        try:
            return self._captured(step, current)
        except RuntimeError as error:
            # A base that asks the GPU something in the middle of a step; or memory that does not suffice just now.
            self._never = not is_out_of_memory(error)
            _log.warning("a decoding step cannot be recorded, so it is made operation by operation: %s", error)
        finally:
            # torch leaves the stream of a capture that failed as it is.
            torch.cuda.set_stream(current)
        # Only here is the error gone, and with it its frames, which held the tensors.
        return None

    def _captured(self, step: Step, current: torch.cuda.Stream) -> tuple[Callable[[], None], tuple[Tensor, Tensor]]:
        # Made once before, on the same stream: kernels are compiled and libraries set up then.
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            step()
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads load stacks meanwhile, which takes memory of the GPU: only this one's operations are looked at.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            outputs = step()
        return graph.replay, outputs


def _power_of_two(number: int) -> int:
    """The smallest that is not less."""
    return 1 << max(0, number - 1).bit_length()
