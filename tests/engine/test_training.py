"""Training candidates: alone or in company, again and again, the same; and only on what it may see."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from engine import learner, lower_layers
from engine.base import Base
from engine.batches import Batch, encode_example, lay_out
from engine.configuration import Configuration
from engine.errors import TrainingStoppedError
from engine.history import Sample
from engine.losses import encode_samples
from engine.projections import decoder_layers
from engine.prompts import messages_for
from engine.training import (
    Candidate,
    Course,
    TrainedCandidate,
    TrainingSettings,
    train_candidates,
    train_group,
)

SETTINGS = TrainingSettings(
    learning_rate=2e-3,
    weight_decay=1e-4,
    warmup_fraction=0.1,
    batch_size=4,
    epochs=2,
    max_gradient_norm=1.0,
    max_sequence_tokens=128,
)
HISTORY = [
    Sample(f"what about number {i}, please{' and more' * (i % 4)}?", f"number {i} is fine{', really' * (i % 3)}.")
    for i in range(14)
]
OTHER_HISTORY = [Sample(f"tell me of day {i}", f"day {i} was long and quiet") for i in range(9)]
CANDIDATE = Candidate("mine", Configuration((False, True, True), 2, 8), seed=11)
COMPANY = [
    Candidate(f"other {i}", Configuration(layers, n, r), seed=i)
    for i, (layers, n, r) in enumerate(
        [
            ((True, True, True), 1, 16),
            ((True, False, False), 4, 8),
            ((False, False, True), 1, 96),
            ((True, True, False), 3, 8),
            ((False, True, False), 2, 32),
            ((True, False, True), 1, 64),
            ((True, True, True), 5, 16),
        ]
    )
]


def in_one_batch(base: Base, candidates: Sequence[Candidate], history: Sequence[Sample]) -> list[TrainedCandidate]:
    """Trained side by side in one batch, as on an accelerator; a CPU would choose lanes."""
    return train_group(base, candidates, Course(history, SETTINGS), places=len(candidates))


def assert_same_weights(first: TrainedCandidate, second: TrainedCandidate) -> None:
    assert first.stack is not None
    assert second.stack is not None
    for name, a in first.stack.a.items():
        assert torch.allclose(a, second.stack.a[name], atol=1e-4)
        assert torch.allclose(first.stack.b[name], second.stack.b[name], atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "roberta"])
def test_a_candidate_ends_with_the_same_weights_alone_and_among_seven_others(
    family: str, tiny_base: Callable[[str], Base]
) -> None:
    base = tiny_base(family)
    alone = train_candidates(base, [CANDIDATE], Course(HISTORY, SETTINGS))[0]
    among = in_one_batch(base, [*COMPANY[:3], CANDIDATE, *COMPANY[3:]], HISTORY)[3]

    assert alone.steps == 8
    assert alone.stack is not None
    assert all(b.abs().max() > 1e-4 for b in alone.stack.b.values())
    assert_same_weights(alone, among)


def test_on_the_trained_base_a_candidate_ends_the_same_alone_and_in_company(small_base: Base) -> None:
    candidate = Candidate("mine", Configuration((False,) * 6 + (True,) * 6, 2, 8), seed=3)
    company = [Candidate("other", Configuration((True,) * 12, 1, 16), seed=4)]
    alone = train_candidates(small_base, [candidate], Course(HISTORY[:8], SETTINGS))[0]
    among = in_one_batch(small_base, [*company, candidate], HISTORY[:8])[1]

    assert_same_weights(alone, among)


def test_in_bfloat16_company_changes_no_more_than_rounding_does(small_base: Base, rounded_base: Base) -> None:
    candidate = Candidate("mine", Configuration((False,) * 6 + (True,) * 6, 2, 8), seed=3)
    company = [Candidate("other", Configuration((True,) * 12, 1, 16), seed=4)]
    exact = train_candidates(small_base, [candidate], Course(HISTORY[:8], SETTINGS))[0]
    alone = train_candidates(rounded_base, [candidate], Course(HISTORY[:8], SETTINGS))[0]
    among = in_one_batch(rounded_base, [*company, candidate], HISTORY[:8])[1]

    assert len(exact.losses) == 4
    assert alone.losses == pytest.approx(exact.losses, abs=0.03)
    assert among.losses == pytest.approx(alone.losses, abs=0.03)


def test_user_b_after_user_a_equals_user_b_alone(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    alone = train_candidates(base, [CANDIDATE], Course(OTHER_HISTORY, SETTINGS))[0]
    in_one_batch(base, [CANDIDATE, *COMPANY], HISTORY)
    after = train_candidates(base, [CANDIDATE], Course(OTHER_HISTORY, SETTINGS))[0]

    assert after.losses == alone.losses
    assert_same_weights(after, alone)


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    first, again, other = (
        train_candidates(base, [Candidate("c", CANDIDATE.configuration, seed)], Course(HISTORY, SETTINGS))[0]
        for seed in (1, 1, 2)
    )

    assert first.losses == again.losses != other.losses


def test_training_lowers_the_loss_of_what_was_trained(small_base: Base) -> None:
    candidate = Candidate("c", Configuration.default_lora(12), seed=0)
    trained = train_candidates(small_base, [candidate], Course(HISTORY, SETTINGS))[0]

    assert trained.losses[-1] < 0.7 * trained.losses[0]


def test_a_diverging_candidate_fails_with_a_reason_and_the_others_go_on(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    poisoned = Candidate("poisoned", Configuration((True, True, True), 1, 8), seed=5)
    alone = train_candidates(base, [CANDIDATE], Course(HISTORY, SETTINGS))[0]

    steps: list[int] = []

    def poison(done: int, _total: int) -> None:
        steps.append(done)
        if len(steps) == 3:
            for parameter in seen:
                parameter.data.fill_(math.nan)

    seen: list[torch.Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        original = learner._initial_parameters

        def remember(base: Base, candidate: Candidate) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
            a, b = original(base, candidate)
            if candidate.key == "poisoned":
                seen.extend(a.values())
            return a, b

        patch.setattr(learner, "_initial_parameters", remember)
        failed, healthy = train_group(base, [poisoned, CANDIDATE], Course(HISTORY, SETTINGS), places=2, on_step=poison)

    assert failed.stack is None
    assert "diverged" in str(failed.error)
    assert failed.steps == 4
    assert_same_weights(healthy, alone)


def test_an_absurd_learning_rate_is_reported_as_divergence(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    settings = TrainingSettings(1e30, 0.0, 0.0, 4, 2, 1.0, 128)
    result = train_candidates(base, [CANDIDATE], Course(HISTORY, settings))[0]

    assert result.stack is None
    assert "diverged" in str(result.error)


def test_training_stops_when_asked(tiny_base: Callable[[str], Base]) -> None:
    steps: list[int] = []

    with pytest.raises(TrainingStoppedError):
        train_candidates(
            tiny_base("llama"),
            [CANDIDATE],
            Course(HISTORY, SETTINGS),
            should_stop=lambda: len(steps) == 2,
            on_step=lambda done, _total: steps.append(done),
        )

    assert steps == [1, 2]


def test_the_base_itself_costs_no_training(tiny_base: Callable[[str], Base]) -> None:
    result = train_candidates(
        tiny_base("llama"), [Candidate("base", Configuration.base(3), 0)], Course(HISTORY, SETTINGS)
    )[0]

    assert result.steps == 0
    assert result.stack is not None
    assert result.stack.parameters == 0


def test_a_pass_takes_every_example_once_in_full_batches_and_each_pass_mixes_anew() -> None:
    batches = learner._batches(61, TrainingSettings(2e-3, 0.0, 0.1, 8, 2, 1.0, 128), order_seed=0)
    first, second = batches[:8], batches[8:]

    assert [len(batch) for batch in first] == [8] * 7 + [5]
    assert (
        sorted(i for batch in first for i in batch) == sorted(i for batch in second for i in batch) == list(range(61))
    )
    assert first != second


def test_a_candidate_with_an_order_of_its_own_learns_in_it_whatever_the_others_order_is(
    tiny_base: Callable[[str], Base],
) -> None:
    base, own = tiny_base("llama"), replace(CANDIDATE, key="own", order_seed=5)
    (alone,) = train_candidates(base, [CANDIDATE], Course(HISTORY, SETTINGS, order_seed=5))
    beside, other = train_candidates(base, [own, CANDIDATE], Course(HISTORY, SETTINGS, order_seed=6))
    assert beside.losses == pytest.approx(alone.losses, rel=1e-4)
    # The same samples from the same start, but for their order.
    assert other.losses != pytest.approx(alone.losses, rel=1e-4)


def test_a_batch_holds_no_token_but_those_of_its_examples(tiny_base: Callable[[str], Base]) -> None:
    form = tiny_base("llama").format
    examples = [encode_example(form, messages_for("word " * count), "answer", 512) for count in (1, 30, 7)]
    batch = lay_out(examples)

    assert batch.ids.tolist() == [token for e in examples for token in e.prompt + e.response]
    assert batch.targets.tolist() == [token for e in examples for token in e.response]
    assert batch.weights.sum() == pytest.approx(1)
    twice = Batch.end_to_end([batch, batch])
    assert torch.equal(twice.ids[twice.before_target + 1], twice.targets)
    assert twice.example.max() == 5


@pytest.mark.parametrize("words", [1, 300])
def test_a_sample_over_the_limit_keeps_the_end_of_the_query_and_the_beginning_of_the_response(
    words: int, tiny_base: Callable[[str], Base]
) -> None:
    form = tiny_base("llama").format
    example = encode_example(form, messages_for("first " + "filler " * 300 + "last"), "begin " + "more " * words, 64)

    assert example.length <= 64
    assert "last" in form.decode(example.prompt)
    assert "first" not in form.decode(example.prompt)
    assert form.decode(example.response).startswith("begin")


@pytest.mark.parametrize("family", ["llama", "gpt2", "roberta"])
def test_with_fewer_places_than_candidates_each_ends_with_the_same_weights(
    family: str, tiny_base: Callable[[str], Base]
) -> None:
    base = tiny_base(family)
    candidates = [CANDIDATE, *COMPANY[:3]]
    few = train_group(base, candidates, Course(HISTORY, SETTINGS), places=2)

    for one, other in zip(few, in_one_batch(base, candidates, HISTORY), strict=True):
        assert_same_weights(one, other)


@pytest.mark.parametrize("family", ["llama", "gpt2", "roberta", "gemma2"])
def test_keeping_what_the_lower_layers_gave_changes_nothing(
    family: str, tiny_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_base(family)
    kept = train_candidates(base, [CANDIDATE], Course(HISTORY, SETTINGS))[0]
    monkeypatch.setattr(lower_layers, "MOST_BYTES", 0)
    anew = train_candidates(base, [CANDIDATE], Course(HISTORY, SETTINGS))[0]

    assert CANDIDATE.configuration.active_layers[0] == 1
    assert_same_weights(kept, anew)


def test_layers_below_every_stack_run_once_for_all_passes_and_no_gradient_goes_down_to_them(
    tiny_base: Callable[[str], Base],
) -> None:
    base = tiny_base("llama")
    tokens, with_gradient = Counter[int](), set[int]()

    def look(index: int) -> Callable[[nn.Module, tuple[torch.Tensor]], None]:
        def seen(_norm: nn.Module, given: tuple[torch.Tensor]) -> None:
            tokens[index] += given[0].shape[1]
            if given[0].requires_grad:
                with_gradient.add(index)

        return seen

    layers: list[Any] = list(decoder_layers(base.model, base.projections))
    hooks = [layer.input_layernorm.register_forward_pre_hook(look(i)) for i, layer in enumerate(layers)]
    try:
        in_one_batch(base, [CANDIDATE, COMPANY[2]], HISTORY)
    finally:
        for hook in hooks:
            hook.remove()

    once = sum(example.length for example in encode_samples(base, HISTORY, SETTINGS.max_sequence_tokens))
    # Two candidates, two passes each; the lower of them begins at layer 1.
    assert tokens == {0: once, 1: 4 * once, 2: 4 * once}
    assert with_gradient == {2}


def test_all_candidates_see_the_same_batches(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    configuration = Configuration((True, True, True), 1, 8)
    results = in_one_batch(base, [Candidate("a", configuration, 1), Candidate("b", configuration, 1)], HISTORY)

    assert results[0].losses == pytest.approx(results[1].losses, abs=1e-5)
