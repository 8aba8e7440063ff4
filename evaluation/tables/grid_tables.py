"""Tables of what lies around quality: search subspaces (the paper's Table 5), sensitivity, controls, cost, the gate.

Must not know where tables go.
"""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.names import BASELINES, CONTROLS, MEMORIES, PERSONA_F1, ROUGE_L, SPACES, Metric, label, ordered
from evaluation.statistics import (
    GATE_TARGET,
    Comparison,
    Group,
    compare,
    compared,
    estimate,
    gate_record,
    on_same_seeds,
    per_user,
)
from evaluation.tables import numbers, paper
from evaluation.tables.markdown import Table
from evaluation.tables.quality_tables import where

_SPACE = "space="
_KNOBS = {
    "history": "Share of the history",
    "trials": "Trials",
    "learning_rate": "Learning rate",
    "epochs": "Epochs",
}
"""What a variant varies. Unknown ones go by their own name, last."""


def variants(group: Group) -> list[str]:
    """The variants of the standard grid that are no search subspace, by what they vary, then by its value."""
    found = {row.variant for row in group.rows if row.variant and not row.variant.startswith(_SPACE)}
    return sorted(found, key=_place)


def knob(variant: str) -> tuple[str, str]:
    """What a variant varies, and the value it has: "history=0.25" is ("history", "0.25")."""
    name, _, value = variant.partition("=")
    return name, value


def against_standard(group: Group, method: str, variant: str, metric: Metric) -> Comparison | None:
    """A variant of a method against its standard, on the users and seeds that have both."""
    return compared(group, method, method, metric, variant, "")


def ablation(group: Group) -> Table:
    """Table 5: what is lost where only a part of the configuration is searched."""
    present = {row.variant.removeprefix(_SPACE) for row in group.rows if row.variant.startswith(_SPACE)}
    rows = []
    for space in [*(space for space in SPACES if space in present), *sorted(present - set(SPACES))]:
        rouge, persona = (
            against_standard(group, "milp", f"{_SPACE}{space}", metric) for metric in (ROUGE_L, PERSONA_F1)
        )
        own = estimate(per_user(group.rows, "milp", ROUGE_L.name, f"{_SPACE}{space}"))
        cells = [
            space,
            numbers.mean(own, 2),
            numbers.difference(rouge),
            numbers.relative(rouge),
            numbers.p_value(rouge),
        ]
        rows.append([*cells, numbers.difference(persona), paper.NOT_KNOWN, str(rouge.users if rouge else 0)])
    every = estimate(per_user(group.rows, "milp", ROUGE_L.name))
    if rows and every:
        rows.append(["all", numbers.mean(every, 2), *["–"] * 4, paper.NOT_KNOWN, str(every.users)])
    head = ["Searched", "ROUGE-L", "minus all", "relative", "p", "Persona F1 minus all", "The paper's", "Users"]
    note = (
        "Differences are to the whole space, on the users that have both; num: LoRAs, size: rank, layer: which layers."
    )
    absent = "The search subspaces were not evaluated."
    return Table(f"Search subspaces (the paper's Table 5): {where(group)}", head, rows, note if rows else absent)


def sensitivity(group: Group) -> Table:
    """What changes with the length of the history, the trials, the learning rate and the epochs."""
    rows = []
    for variant in variants(group):
        name, value = knob(variant)
        for method in ordered(row.method for row in group.rows if row.variant == variant):
            rouge, persona = (against_standard(group, method, variant, metric) for metric in (ROUGE_L, PERSONA_F1))
            own = estimate(per_user(group.rows, method, ROUGE_L.name, variant))
            cells = [_KNOBS.get(name, name), value, label(method), numbers.mean(own, 2), numbers.difference(rouge)]
            rows.append([*cells, numbers.p_value(rouge), numbers.difference(persona), str(rouge.users if rouge else 0)])
    head = ["Varied", "to", "Method", "ROUGE-L", "minus standard", "p", "Persona F1 minus standard", "Users"]
    note = "Differences are to the same method in the standard grid, on the users that have both."
    absent = "Nothing was varied: history, trials, learning rate and epochs are those of the standard grid."
    return Table(f"Sensitivity: {where(group)}", head, rows, note if rows else absent)


def controls(group: Group) -> Table:
    """Personal, or merely of the domain? MiLP against stacks that know the domain and not the person."""
    rows = []
    for control, own in CONTROLS.items():
        above, gain = compared(group, "milp", control, ROUGE_L), compared(group, control, "base", ROUGE_L)
        if above is None:
            continue
        persona = compared(group, "milp", control, PERSONA_F1)
        cells = [label(control), f"{above.b:.2f}", numbers.difference(above), numbers.p_value(above)]
        cells += [numbers.record(above), numbers.difference(persona), numbers.difference(gain)]
        rows.append([*cells, label(own), _share_of_gain(group, control, own), str(above.users)])
    head = ["Control", "ROUGE-L", "MiLP above it", "p", "won / tied / lost", "Persona F1, MiLP above it"]
    head += ["above the base", "trained like", "share of that one's gain", "Users"]
    note = (
        "The control is trained like the method that is named, but on others: the share of that one's gain over the "
        "base in ROUGE-L that the control has too is what the domain explains; the rest is personal."
    )
    absent = "No control was measured: whether the gain is personal or merely of the domain is not known."
    return Table(f"Controls: {where(group)}", head, rows, note if rows else absent)


def cost(group: Group) -> Table:
    """What a user costs beside what it buys: ROUGE-L, and seconds, parameters, bytes, tokens of prompt."""
    rows = []
    for method in ordered(group.methods):
        seconds, parameters, size, tokens = (
            estimate(per_user(group.rows, method, name)) for name in ("seconds", "parameters", "bytes", "prompt_tokens")
        )
        if parameters is None or size is None or tokens is None:
            continue
        time = numbers.duration(seconds.mean) if seconds is not None else "not timed"
        bought = numbers.mean(estimate(per_user(group.rows, method, ROUGE_L.name)), 2)
        cells = [label(method), bought, time, numbers.large(parameters.mean)]
        cells += [numbers.byte_size(size.mean), f"{tokens.mean:.1f}"]
        rows.append([*cells, *(_saved(group, method, memory) for memory in MEMORIES)])
    head = ["Method", "ROUGE-L", "Learning and choosing", "Trained parameters", "Stored", "Prompt, tokens"]
    head += [f"fewer than {label(memory)}" for memory in MEMORIES]
    return Table(
        f"Cost of a user: {where(group)}",
        head,
        rows,
        "Means over users and seeds; differences are on the users that both have.",
    )


def gate(groups: Sequence[Group]) -> Table:
    """Whom the gate held back, and whom it should have."""
    rows = []
    for group in groups:
        for against in (BASELINES, BASELINES[:2]):
            found = gate_record(group, against)
            # Where MaLP was not measured, the second is the first again.
            if found is None or (against != BASELINES and found.against == tuple(_present(group))):
                continue
            cells = [where(group), ", ".join(map(label, found.against)), str(found.cells), str(found.activated)]
            cells += [str(found.worse), _of(found.worse_held_back, found.worse)]
            rows.append([*cells, str(found.better), _of(found.better_held_back, found.better)])
    head = ["Set and base", "Against the best of", "Users x seeds", "activated", "MiLP worse", "of these held back"]
    head += ["MiLP better", "of these held back"]
    note = "By ROUGE-L on the test part, which the gate never saw. Held back: not activated; "
    note += f"of those for whom MiLP is worse, {100 * GATE_TARGET:.0f} % are wanted."
    absent = "No gate's decision was recorded, so its record is not known."
    return Table("The gate", head, rows, note if rows else absent)


def _place(variant: str) -> tuple[int, str, float, str]:
    name, value = knob(variant)
    known = list(_KNOBS)
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    return known.index(name) if name in known else len(known), name, number, value


def _share_of_gain(group: Group, control: str, own: str) -> str:
    """(control - base) / (own - base) on the users and seeds of all three, where `own` gains at all."""
    rows = on_same_seeds(group, (own, ""), (control, ""))
    person, other, base = (per_user(rows, name, ROUGE_L.name) for name in (own, control, "base"))
    users = person.keys() & other.keys() & base.keys()
    gain = sum(person[user] - base[user] for user in users)
    return f"{100 * sum(other[user] - base[user] for user in users) / gain:.0f} %" if gain > 0 else numbers.NONE


def _saved(group: Group, method: str, memory: str) -> str:
    if method == memory:
        return numbers.NONE
    theirs, own = (per_user(group.rows, name, "prompt_tokens") for name in (memory, method))
    found = compare(theirs, own)
    return numbers.NONE if found is None else numbers.signed(found.difference, 1)


def _present(group: Group) -> list[str]:
    return [name for name in BASELINES if name in group.methods]


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.0f} %)" if whole else numbers.NONE
