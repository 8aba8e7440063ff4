"""Answers for many users at once: requests join a running batch, each with its own stack, and stream their text.

A few threads decode; callers submit from any thread and iterate over their own answer. Must not know HTTP or users: a
stack is a key and a way to load it, an owner whoever the answer is for.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from time import monotonic

import torch

from engine import fused_attention, fused_layers, row_attention, row_kernel
from engine.answer import Answer, Listener
from engine.bank import StackBank
from engine.base import Base
from engine.compiled import worth_compiling
from engine.decoding import DecodingBatch, Row, Sampling
from engine.errors import EngineError, PromptTooLongError, QueueFullError
from engine.lanes import give_way, return_freed_memory
from engine.prefixes import PrefixCache, PrefixKey
from engine.prompts import Message
from engine.stack import Stack
from engine.step_graphs import recorder
from engine.timeline import Timeline

TRIM_SECONDS = 10.0
"""Pause between two returns of freed memory to the system, which take some milliseconds each."""
PREFIX_BYTES = 128 * 2**20
"""Keys and values of beginnings of prompts that are kept, for all owners together."""
MOST_LANES = 4
"""Threads that decode on a CPU: Python runs one at a time between torch's operations, so more would wait for it."""


class AnsweringEngine:
    """Continuous batching over requests of different users.

    On a CPU as many lanes decode as there are cores, each its own rows on one thread: a step is hundreds of short
    operations, which several threads share badly. On an accelerator one lane decodes them all.

    Args:
        max_batch_rows: answers decoded side by side, in all lanes.
        max_queue: answers waiting for a place; one more is refused.
        bank_stacks: stacks kept loaded.
    """

    def __init__(self, base: Base, *, max_batch_rows: int, max_queue: int, bank_stacks: int) -> None:
        self._base = base
        self._bank = StackBank(base, bank_stacks)
        self.prefixes = PrefixCache(PREFIX_BYTES)
        self._max_rows = max_batch_rows
        self._max_queue = max_queue
        self._waiting: deque[Answer] = deque()
        self._changed = Condition()
        self._closed = False
        self._seconds_per_answer = 1.0
        threads = torch.get_num_threads()
        count = min(MOST_LANES, threads, max_batch_rows) if base.device.type == "cpu" else 1
        self._lanes = [_Lane(self, base, number, max(1, threads // count)) for number in range(count)]

    def start(self) -> None:
        """Begin to decode; on a CPU the kernels are compiled first, so that no answer waits for that."""
        if self._base.device.type == "cpu":
            wide = worth_compiling(self._base.hidden_size)
            row_kernel.compile_now(self._base.dtype)
            row_attention.compile_now(self._base.dtype, rotating=wide)
            if wide:
                fused_attention.compile_now(self._base.dtype)
                fused_layers.compile_now(self._base.dtype)
        for lane in self._lanes:
            lane.thread.start()

    def close(self) -> None:
        """End the decoding threads; unfinished answers raise EngineError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for lane in self._lanes:
            if lane.thread.is_alive():
                lane.thread.join()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return sum(len(lane.running) for lane in self._lanes)

    @property
    def evictions(self) -> int:
        return self._bank.evictions

    def loaded_keys(self) -> list[str]:
        """Keys of the stacks in the bank, least recently used first."""
        return self._bank.keys()

    def forget(self, prefix: str) -> int:
        """Drop loaded stacks by the beginning of their key, and what is kept of the prompts of such stacks and owners;
        returns how many stacks there were."""
        self.prefixes.forget(prefix, lambda: self._keep_nothing_of(prefix))
        return self._bank.forget(prefix)

    def _keep_nothing_of(self, prefix: str) -> None:
        """Answers in the making of such a stack or owner leave nothing behind."""
        with self._changed:
            running = [answer for lane in self._lanes for answer in lane.running.values()]
            for row in (answer._row for answer in [*running, *self._waiting]):
                if row.prefix_key is not None and row.prefix_key.is_of(prefix):
                    row.prefix_key = None

    def submit(
        self,
        messages: Sequence[Message],
        *,
        stack_key: str | None = None,
        load_stack: Callable[[], Stack] | None = None,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        owner: str = "",
        listener: Listener | None = None,
    ) -> Answer:
        """Ask for an answer; returns at once unless the stack has to be loaded first.

        Args:
            stack_key: names the stack and its version; None is the base.
            load_stack: loads it, called by this thread if the bank does not hold it.
            stop: texts that end the answer and are left out of it.
            owner: whose answer it is: places go to the owner who has the fewest, so that nobody's many requests keep
                others waiting; and beginnings of prompts are read once for the same owner and stack.
            listener: told each piece in place of the answer's iterator, by a decoding thread: it must not wait.

        Raises:
            PromptTooLongError: prompt and answer do not fit the context.
            QueueFullError: too many are waiting; says when to come back.
            EngineError: the engine was closed. Whatever `load_stack` raises.
        """
        asked = time.time()
        room = self._base.context_length - max_new_tokens
        if room < 1:
            raise PromptTooLongError(
                f"an answer of {max_new_tokens} tokens leaves no room for a prompt: the context holds "
                f"{self._base.context_length}. Ask for fewer tokens."
            )
        prompt = self._base.format.prompt_ids(messages, room)
        self._refuse_if_full()
        stack = self._bank.get(stack_key, load_stack) if stack_key is not None and load_stack is not None else None
        key = PrefixKey(owner, stack_key or "") if owner else None
        row = Row(prompt, stack, max_new_tokens, Sampling(temperature, top_p, seed), key)
        answer = Answer(self._base, row, stop, owner, self._leave_queue, listener)
        answer.timeline = Timeline(asked, loaded=time.time())
        with self._changed:
            self._refuse_if_full()
            self._waiting.append(answer)
            self._changed.notify_all()
        return answer

    def _refuse_if_full(self) -> None:
        if self._closed:
            raise EngineError("the answering engine is shutting down: try again in a moment.")
        if len(self._waiting) >= self._max_queue:
            seconds = max(1.0, self._seconds_per_answer * len(self._waiting) / self._max_rows)
            raise QueueFullError(f"{len(self._waiting)} answers are waiting already: try again later.", seconds)

    def _leave_queue(self, answer: Answer) -> None:
        """A cancelled answer that still waits ends at once; a running one ends with the next token."""
        with self._changed:
            if answer in self._waiting:
                self._waiting.remove(answer)
                answer._publish(done=True)

    def _next_for(self, lane: _Lane) -> list[Answer] | None:
        """Waits until there is something to do; the answers that join this lane now, or None when it has to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(lane.running) or self._share(lane) > 0)
            if self._closed:
                return None
            joining = [self._fairest() for _ in range(self._share(lane))]
            lane.running.update({id(answer._row): answer for answer in joining})
            for answer in joining:
                answer.timeline.joined = time.time()
            return joining

    def _share(self, lane: _Lane) -> int:
        """How many of those who wait this lane takes, so that all lanes have about as many rows."""
        free = min(len(self._waiting), self._max_rows - self.running)
        even = -(-(self.running + free) // len(self._lanes))
        return max(0, min(free, even - len(lane.running)))

    def _fairest(self) -> Answer:
        """Takes the first of those whose owner has the fewest answers running out of the queue."""
        places = Counter(answer._owner for lane in self._lanes for answer in lane.running.values())
        chosen = min(self._waiting, key=lambda answer: places[answer._owner])
        self._waiting.remove(chosen)
        return chosen

    def _freed(self, answers: Sequence[Answer], lane: _Lane) -> None:
        """These answers of the lane have ended: others may have their places."""
        with self._changed:
            for answer in answers:
                del lane.running[id(answer._row)]
                self._seconds_per_answer += 0.1 * (monotonic() - answer._submitted - self._seconds_per_answer)
            self._changed.notify_all()

    def _fail_waiting(self, error: BaseException) -> None:
        with self._changed:
            while self._waiting:
                self._waiting.popleft()._fail(error)


class _Lane:
    """One thread that decodes its own rows."""

    def __init__(self, engine: AnsweringEngine, base: Base, number: int, threads: int) -> None:
        self._engine = engine
        self._base = base
        self._threads = threads
        self._record = recorder(base.device)
        self._batch = self._new_batch()
        self.running: dict[int, Answer] = {}
        self._trimmed = monotonic()
        self.thread = Thread(target=self._run, name=f"answering-{number}", daemon=True)

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        give_way()
        while (joining := self._engine._next_for(self)) is not None:
            try:
                # Those who go on get their token first, so that long prompts delay them by one step at most.
                self._batch.step()
                self._batch.admit([answer._row for answer in joining])
                for answer in joining:
                    answer.timeline.first_token = time.time()
                self._publish()
                self._trim_when_idle()
            except Exception as error:
                self._batch = self._new_batch()
                self._fail(error)
        closed = EngineError("the answering engine was shut down.")
        self._fail(closed)
        self._engine._fail_waiting(closed)

    def _new_batch(self) -> DecodingBatch:
        return DecodingBatch(self._base, self._engine.prefixes, self._record)

    def _trim_when_idle(self) -> None:
        """Prompts of all lengths leave pieces that the next do not fit into; nobody waits for a lane without rows."""
        if not self._batch.rows and monotonic() - self._trimmed > TRIM_SECONDS:
            self._trimmed = monotonic()
            return_freed_memory()

    def _publish(self) -> None:
        answers = [self.running[id(row)] for row in self._batch.rows]
        for answer in answers:
            answer._read()
        # What is kept of an answer is kept before it ends: who asks again at once may come to another lane.
        ended = [self.running[id(row)] for row in self._batch.release_finished()]
        for answer in answers:
            answer._publish(done=answer in ended)
        if ended:
            self._engine._freed(ended, self)

    def _fail(self, error: BaseException) -> None:
        answers = list(self.running.values())
        for answer in answers:
            answer._fail(error)
        self._engine._freed(answers, self)
