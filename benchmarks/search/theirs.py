"""The peers' side: PEFT, one candidate after another, each batch padded; and AutoPEFT's way, a fresh base for each.

The same function is trained from the same A's on the same batches in the same order, with the same optimiser, warm-up,
clipping and loss, so that losses agree. Must not know how the engine trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import set_peft_model_state_dict
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.peers import adapted, adapter_state, fresh_model, lora_config, padded, padding_id
from benchmarks.search.task import SEED, Scored, Task
from engine.batches import Example
from engine.learner import Candidate, Learner
from engine.metrics import rouge_l
from engine.prompts import messages_for
from engine.stack import Stack

AT_ONCE = 16
"""Validation samples scored and answered in one batch, as the engine scores them."""
_IGNORED = -100
"""The label of tokens without loss."""


def peft_batch(task: Task, model: Any, candidates: Sequence[Candidate]) -> list[Scored]:
    """Each candidate on the same loaded base, which is as before afterwards."""
    return [peft_trial(task, model, candidate) for candidate in candidates]


def autopeft_batch(task: Task, candidates: Sequence[Candidate]) -> list[Scored]:
    """Each candidate on a base that is loaded for it, as AutoPEFT runs its trials (Zhou et al. 2024)."""
    return [peft_trial(task, fresh_model(task.base), candidate) for candidate in candidates]


def peft_trial(task: Task, model: Any, candidate: Candidate) -> Scored:
    """Train and score one candidate."""
    if candidate.configuration.is_base:
        return Scored(candidate, [], *score(task, model))
    wrapped, losses, failed = train(task, model, candidate)
    scores = ([], []) if failed else score(task, wrapped)
    wrapped.unload()
    return Scored(candidate, losses, *scores, failed=failed)


def train(task: Task, model: Any, candidate: Candidate) -> tuple[Any, list[float], bool]:
    """The model with the trained adapter, each step's loss, and whether it diverged."""
    settings, base = task.settings, task.base
    # A learner draws the A's and the batches; nothing of it is trained.
    drawn = Learner(base, candidate, settings, len(task.examples), SEED, task.passes)
    wrapped = adapted(model, lora_config(base, candidate.configuration), "default")
    set_peft_model_state_dict(wrapped, adapter_state(Stack(candidate.configuration, drawn.a, drawn.b)))
    wrapped.eval()  # no dropout, which the engine has none of
    parameters = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    warmup = max(1, round(settings.warmup_fraction * settings.steps(len(task.examples))))
    while not drawn.done:
        loss = training_loss(task, wrapped, [task.examples[i] for i in drawn.next_batch()])
        if not drawn.note(float(loss.detach())):
            break
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(1.0, len(drawn.losses) / warmup)
        torch.nn.utils.clip_grad_norm_(parameters, settings.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return wrapped, drawn.losses, drawn.error is not None


def training_loss(task: Task, model: Any, examples: Sequence[Example]) -> Tensor:
    """What a step lowers: the mean loss over responses' tokens, and over prompts' at its weight, labels smoothed."""
    weight, batch = task.settings.prompt_loss_weight, labelled(task, examples)
    of_response = batch.pop("labels")[:, 1:] != _IGNORED
    of_prompt = batch["attention_mask"][:, 1:].bool() & ~of_response
    logits = model(**batch).logits[:, :-1].float()
    targets, smoothing = batch["input_ids"][:, 1:], task.settings.label_smoothing
    each = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none", label_smoothing=smoothing)
    each = each.view_as(targets)
    return (each[of_response].mean() + weight * each[of_prompt].mean()) / (1 + weight)


def labelled(task: Task, examples: Sequence[Example]) -> dict[str, Tensor]:
    """Examples padded on the right, with loss on the response's tokens only."""
    width = max(example.length for example in examples)
    ids = torch.full((len(examples), width), padding_id(task.base))
    labels, mask = torch.full_like(ids, _IGNORED), torch.zeros_like(ids)
    for row, example in enumerate(examples):
        ids[row, : example.length] = torch.tensor(example.prompt + example.response)
        labels[row, len(example.prompt) : example.length] = torch.tensor(example.response)
        mask[row, : example.length] = 1
    device = task.base.device
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "labels": labels.to(device)}


@torch.no_grad()
def score(task: Task, model: Any) -> tuple[list[float], list[float]]:
    """Loss and ROUGE-L of each validation sample."""
    losses: list[float] = []
    for start in range(0, len(task.validation), AT_ONCE):
        batch = labelled(task, task.validation[start : start + AT_ONCE])
        labels = batch.pop("labels")[:, 1:]
        logits = model(**batch).logits[:, :-1].float()
        each = cross_entropy(logits.transpose(1, 2), labels, ignore_index=_IGNORED, reduction="none")
        losses += (each.sum(dim=1) / (labels != _IGNORED).sum(dim=1)).tolist()
    samples = task.history.split.validation
    found = responses(task, model, [sample.query for sample in samples])
    return losses, [rouge_l(s.response, said) for s, said in zip(samples, found, strict=True)]


def responses(task: Task, model: Any, queries: Sequence[str]) -> list[str]:
    """The greedy response to each query."""
    base, texts = task.base, list[str]()
    room = base.context_length - task.max_new_tokens
    for start in range(0, len(queries), AT_ONCE):
        some = queries[start : start + AT_ONCE]
        batch = padded(base, [base.format.prompt_ids(messages_for(query), room, cut=True) for query in some])
        ids = model.generate(
            **batch, max_new_tokens=task.max_new_tokens, do_sample=False, pad_token_id=padding_id(base)
        )
        texts += [base.format.decode(row) for row in ids[:, batch["input_ids"].shape[1] :].tolist()]
    return texts
