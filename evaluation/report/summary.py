"""An evaluation in plain words: what was measured, what MiLP gains and where it loses, the gate, controls, cost, gaps.

Says of what is absent that it is absent. Must not know how its sentences are laid out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.judge.judgements import Judgement, win_rates
from evaluation.judge.labels import Agreement
from evaluation.names import (
    BASELINES,
    CONTROLS,
    LOSS,
    MEMORIES,
    METHODS,
    METRICS,
    PERSONA_F1,
    ROUGE_L,
    Metric,
    label,
    ordered,
)
from evaluation.report.series import by_history, gains
from evaluation.rows import Row
from evaluation.statistics import (
    GATE_TARGET,
    SAME,
    Comparison,
    Group,
    compare,
    compared,
    estimate,
    gate_record,
    groups,
    improvement,
    per_user,
)
from evaluation.tables import numbers
from evaluation.tables.quality_tables import NO_JUDGE, NO_LABELS, labels_of_others, where

FEW_USERS = 15
"""Below so many users, a percentile bootstrap interval is too narrow to be believed as it stands."""

_SIGNIFICANT = 0.05
"""With a larger p a difference may be luck, though its interval, which is narrow over few users, excludes zero."""
_NAMED = 10
"""Users who are named where MiLP loses; of more, the rest are counted."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Plain sentences under a title."""

    title: str
    sentences: tuple[str, ...]


def summarise(
    rows: Sequence[Row], judgements: Sequence[Judgement] = (), agreements: Sequence[Agreement] = ()
) -> list[Passage]:
    """The summary of a run: a passage for each set and base, and one for the judge."""
    if not rows:
        return [Passage("Nothing was measured", ("There are no rows, so there is nothing to report.",))]
    passages = [Passage(where(group), tuple(_sentences(group))) for group in groups(rows)]
    return [*passages, Passage("Judge", tuple(_judge(judgements, agreements)))]


def _sentences(group: Group) -> list[str]:
    found = [*_measured(group)]
    if "milp" not in group.methods:
        return [*found, "MiLP itself was not measured, so there is nothing to compare with."]
    for metric in (ROUGE_L, PERSONA_F1):
        found += _gain(group, metric)
    found += [*_losses(group), *_better_than_milp(group), *_rivals(group), *_gate(group)]
    return [*found, *_controls(group), *_cost(group), *_gaps(group)]


def _measured(group: Group) -> list[str]:
    tests = estimate(per_user(group.rows, next(iter(ordered(group.methods)), ""), "test"))
    a_user = f", {tests.mean:.0f} test samples a user" if tests and tests.mean else ""
    methods = ordered(group.methods)
    seeds_of = set(group.seeds_of.values())
    users = numbers.count(len(group.users), "user")
    seeds = numbers.count(max(seeds_of, default=len(group.seeds)), "seed") + (" at most" if len(seeds_of) > 1 else "")
    what = _listed([label(method) for method in methods]) or "nothing but variants"
    said = [f"Measured on {users} with {seeds}{a_user}: {what}."]
    absent = [label(method) for method in METHODS if method not in group.methods]
    if absent:
        said.append(f"Not measured: {_listed(absent)}.")
    return said


def _gain(group: Group, metric: Metric) -> list[str]:
    found = improvement(group, metric)
    if found is None:
        return [f"No baseline was measured on MiLP's users, so what it gains in {metric.label} is not known."]
    compared_ = found.comparison
    scores = f"{compared_.a:.{metric.digits}f} against {compared_.b:.{metric.digits}f}"
    verb = "gains" if compared_.difference > 0 else "loses" if compared_.difference < 0 else "gains nothing:"
    share = "" if compared_.relative is None else f", {numbers.relative(compared_)} relative"
    return [
        f"In {metric.label} MiLP {verb} {numbers.difference(compared_, metric.digits)} against the best baseline, "
        f"{label(found.baseline)} ({scores}{share}), better for {compared_.won} and worse for {compared_.lost} of "
        f"{numbers.count(compared_.users, 'user')}. {_certainty(compared_)}"
    ]


def _certainty(found: Comparison) -> str:
    if found.low is None or found.high is None:
        return "With one user there is no interval: it may be luck."
    p = numbers.p_value(found)
    if not (found.low > 0 or found.high < 0):
        return f"The interval includes zero (p {p}): it may be luck."
    if found.p is not None and found.p >= _SIGNIFICANT:
        return f"The interval excludes zero, the permutation test (p {p}) does not: it may be luck."
    return f"The interval excludes zero (p {p})."


def _losses(group: Group) -> list[str]:
    found = gains(group)
    if found is None:
        return []
    baseline, users = found
    lost = [gain for gain in users if gain.mean < -SAME]
    if not lost:
        return [f"For no user is MiLP's ROUGE-L below that of {label(baseline)}."]
    named = [f"{gain.user} by {-gain.mean:.2f}" for gain in lost[:_NAMED]]
    more = [f"{len(lost) - _NAMED} more"] if len(lost) > _NAMED else []
    sure = sum(gain.high is not None and gain.high < 0 for gain in lost)
    certainty = f" For {sure} of them the interval over their own test samples excludes zero."
    return [
        f"MiLP loses ROUGE-L to {label(baseline)} for {len(lost)} of {numbers.count(len(users), 'user')}: "
        f"{_listed([*named, *more])}.{certainty if any(gain.high is not None for gain in lost) else ''}"
    ]


def _better_than_milp(group: Group) -> list[str]:
    said = []
    for metric in (ROUGE_L, PERSONA_F1, LOSS):
        ahead = []
        for method in ordered(group.methods - {"milp"}):
            found = compared(group, "milp", method, metric)
            if found and metric.better * found.difference < -SAME:
                ahead.append(f"{label(method)} (by {abs(found.difference):.{metric.digits}f})")
        if ahead:
            said.append(f"Better than MiLP in the mean of {metric.label}: {_listed(ahead)}.")
    return said or ["No other method is better than MiLP in the mean of ROUGE-L, Persona F1 or loss."]


def _rivals(group: Group) -> list[str]:
    said = []
    for method in ("default_lora", "default_averaged", "random"):
        found = compared(group, "milp", method, ROUGE_L)
        if found:
            said.append(
                f"MiLP's ROUGE-L less that of {_lower(method)}: {numbers.difference(found)}. {_certainty(found)}"
            )
    return said


def _gate(group: Group) -> list[str]:
    found = gate_record(group)
    if found is None:
        return ["No gate's decision was recorded, so its record is not known."]
    against = _listed([label(method) for method in found.against], last="and")
    said = [f"The gate let MiLP answer in {found.activated} of {found.cells} cases (users times seeds)."]
    if found.share is None:
        said.append(f"In none of them was MiLP worse on test than the best of {against}.")
    else:
        share = f"{100 * found.share:.0f} %, wanted: {100 * GATE_TARGET:.0f} %"
        held = f"the gate held back {found.worse_held_back} of these ({share})"
        said.append(f"In {found.worse} MiLP was worse on test than the best of {against}; {held}.")
    if found.better_held_back:
        said.append(
            f"It also held back {found.better_held_back} of the {found.better} that MiLP would have served better."
        )
    return said


def _controls(group: Group) -> list[str]:
    said = []
    for control in CONTROLS:
        found = compared(group, "milp", control, ROUGE_L)
        if found:
            above = f"MiLP's ROUGE-L less that of the control, {_lower(control)}: {numbers.difference(found)}."
            said.append(f"{above} {_certainty(found)}")
    return said or ["No control was measured: whether the gain is personal or merely of the domain is not known."]


def _cost(group: Group) -> list[str]:
    means = {
        name: found.mean
        for name in ("seconds", "parameters", "bytes", "prompt_tokens")
        if (found := estimate(per_user(group.rows, "milp", name)))
    }
    if not {"parameters", "bytes", "prompt_tokens"} <= means.keys():
        return []
    took = f"took {numbers.duration(means['seconds'])} a user, " if "seconds" in means else ""
    trained, kept = numbers.large(means["parameters"]), numbers.byte_size(means["bytes"])
    said = [
        f"MiLP {took}trained {trained} parameters that answer, "
        f"keeps {kept}, and its prompts have {means['prompt_tokens']:.1f} tokens."
    ]
    for memory in MEMORIES:
        theirs, own = (per_user(group.rows, name, "prompt_tokens") for name in (memory, "milp"))
        tokens = compare(theirs, own)
        if tokens:
            more = f"{abs(tokens.difference):.1f} {'more' if tokens.difference >= 0 else 'fewer'}"
            said.append(f"On the same users, a prompt of {label(memory)} has {tokens.a:.1f}: {more}.")
    return said


def _gaps(group: Group) -> list[str]:
    said = []
    if len(group.users) < FEW_USERS:
        said.append(
            f"Only {numbers.count(len(group.users), 'user')}: intervals over so few are narrower than they should be."
        )
    once = [method for method, seeds in group.seeds_of.items() if seeds == 1]
    if len(group.seeds) == 1:
        said.append("Only one seed: how far chance in training and search moves these figures is not known.")
    elif once:
        names = _listed([label(method) for method in ordered(once)])
        said.append(f"Only one seed of {names}: how far chance moves those figures is not known.")
    counts = {method: len(per_user(group.rows, method, ROUGE_L.name)) for method in group.methods}
    if len(set(counts.values())) > 1:
        least = min(ordered(counts), key=lambda method: counts[method])
        said.append(
            f"Not every method has every user ({label(least)} has {counts[least]}): means of methods are over unlike "
            "users, and only paired differences compare."
        )
    missing = sum(not math.isfinite(getattr(row, metric.name)) for row in group.rows for metric in METRICS)
    if missing:
        said.append(f"Left out, for not being finite: {numbers.count(missing, 'score')}.")
    if not any(method in group.methods for method in BASELINES):
        said.append("No baseline was measured.")
    if not by_history(group):
        said.append("No shorter history was measured, so quality against its length is not drawn.")
    return said


def _judge(judgements: Sequence[Judgement], agreements: Sequence[Agreement]) -> list[str]:
    if not judgements:
        return [NO_JUDGE]
    said = []
    for found in win_rates(judgements):
        rate = "not known" if found.rate is None else f"{100 * found.rate.mean:.1f} %"
        pair = f"{label(found.first)} against {label(found.second)} on {found.set} ({found.base})"
        said.append(
            f"By {found.judge}, asked in both orders, {pair} has a win rate of {rate}: {found.won} won, "
            f"{found.tied} tied, {found.lost} lost, {found.unreadable} not readable."
        )
    if not agreements:
        said.append(NO_LABELS)
    for agreed in agreements:
        if agreed.accuracy is None:
            said.append(labels_of_others(agreed.judge))
            continue
        items = numbers.count(agreed.items, "item")
        pearson = "" if agreed.pearson is None else f" (Pearson {agreed.pearson:.2f})"
        said.append(f"{agreed.judge} says what people say in {100 * agreed.accuracy:.0f} % of {items}{pearson}.")
    return said


def _lower(method: str) -> str:
    """A method's name within a sentence: proper names stay as they are."""
    name = label(method)
    return name if name[:2].isupper() or name.startswith(("MiLP", "MaLP")) else name[:1].lower() + name[1:]


def _listed(names: Sequence[str], last: str = "and") -> str:
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if len(names) > 1 else "".join(names)
