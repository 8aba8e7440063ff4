"""One forward and backward of the frozen base for all that is trained at a time, of one course or of several.

Callers come with a party each. One of them drives, for all that are there; when its own party has ended, another does.
Parties come and go between two steps, and none can tell from its weights who else was there. Must not know jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Condition

import torch

from engine.batches import Batch
from engine.grouped import Route
from engine.layers import Span
from engine.learner import Learner, TrainedCandidate
from engine.losses import target_losses
from engine.party import Party

MOST_PARTIES = 2
"""Parties after which no further is called for: each holds its own samples' states and its candidates' activations."""
_LOOK_SECONDS = 1.0
"""How soon a party that waits to be let in notices that it was told to stop, and shows that it is alive."""


class Joint:
    """Trains the parties that are in it side by side: all of one base."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._parties: list[Party] = []
        self._alone = 0
        self._driven = False

    @property
    def has_room(self) -> bool:
        """Whether somebody trains, and one more would be welcome beside them."""
        with self._changed:
            return 0 < len(self._parties) < MOST_PARTIES and not self._alone

    def train(self, party: Party) -> list[TrainedCandidate]:
        """Every candidate of the party to its end.

        Raises:
            TrainingStoppedError: its `should_stop` said so. The other parties go on.
            Exception: what a step raised; for all parties alike, for they make it together.
        """
        self._enter(party)
        try:
            while not party.ended:
                if self._drives(party):
                    self._drive(party)
        finally:
            with self._changed:
                self._parties.remove(party)
                self._alone -= party.alone
                self._changed.notify_all()
        return party.results()

    def _enter(self, party: Party) -> None:
        with self._changed:
            self._alone += party.alone
            try:
                while self._parties if party.alone else self._alone:
                    party.check()
                    self._changed.wait(_LOOK_SECONDS)
            except BaseException:
                self._alone -= party.alone
                raise
            self._parties.append(party)

    def _drives(self, party: Party) -> bool:
        """Wait until it is this party's turn to drive, or another one has driven it to its end."""
        with self._changed:
            while self._driven and not party.ended:
                self._changed.wait()
            if party.ended:
                return False
            self._driven = True
            return True

    def _drive(self, own: Party) -> None:
        try:
            while not own.ended:
                self._advance()
        finally:
            with self._changed:
                self._driven = False
                self._changed.notify_all()

    def _advance(self) -> None:
        """One step of all that are there."""
        with self._changed:
            here = [party for party in self._parties if not party.ended]
        going = []
        for party in here:
            try:
                party.check()
                going.append((party, party.next()))
            except Exception as error:  # its own: the others go on
                party.fail(error)
        try:
            step([(party, learner) for party, learners in going for learner in learners])
        except BaseException as error:
            for party, _ in going:
                party.fail(error)
        else:
            for party, _ in going:
                try:
                    party.after_step()
                except BaseException as error:
                    party.fail(error)
        if any(party.ended for party in here):
            with self._changed:
                self._changed.notify_all()


def step(running: Sequence[tuple[Party, Learner]]) -> None:
    """One optimiser step of each learner, on its next batch of its party's material."""
    # One smoothing, but where jobs are from before and after a setting was changed.
    smoothings = [party.material.course.settings.label_smoothing for party, _ in running]
    for smoothing in sorted(set(smoothings)):
        alike = [one for one, own in zip(running, smoothings, strict=True) if own == smoothing]
        _step_together(alike, smoothing)


def _step_together(running: Sequence[tuple[Party, Learner]], smoothing: float) -> None:
    base = running[0][0].base
    chosen = [learner.next_batch() for _, learner in running]
    batches = [party.material.batch(indices) for (party, _), indices in zip(running, chosen, strict=True)]
    together = Batch.end_to_end(batches).to(base.device)
    learners = [learner for _, learner in running]
    route = Route.of((len(b.ids), learner.a, learner.b) for b, learner in zip(batches, learners, strict=True))
    span = _span(running, chosen)
    losses = target_losses(base, route, together, span, smoothing=smoothing) * together.weights
    means = torch.stack([own.sum() for own in losses.split([len(b.targets) for b in batches])])
    values = means.detach().tolist()
    healthy = [learner.note(value) for learner, value in zip(learners, values, strict=True)]
    if any(healthy):
        means[torch.tensor(healthy, device=means.device)].sum().backward()
    for learner, is_healthy in zip(learners, healthy, strict=True):
        if is_healthy:
            learner.update()


def _span(running: Sequence[tuple[Party, Learner]], chosen: Sequence[Sequence[int]]) -> Span | None:
    """The layers from the lowest that anybody has a stack on; None where some states below it are not kept."""
    lowest = min(learner.first_layer for _, learner in running)
    spans = [party.material.train.span(lowest, indices) for (party, _), indices in zip(running, chosen, strict=True)]
    entries = [span.entry for span in spans if span is not None and span.entry is not None]
    if len(entries) < len(spans):
        return None
    return Span(lowest, running[0][0].base.n_layers, torch.cat(entries, dim=1))
