"""Tables of how good the methods are: the paper's Tables 3 and 4, MiLP's improvement beside the paper's, paired tests.

Must not know where tables go.
"""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.judge.judgements import Judgement, win_rates
from evaluation.judge.labels import Agreement
from evaluation.names import LOSS, METRICS, PERSONA_F1, ROUGE_1, ROUGE_L, Metric, label, ordered
from evaluation.statistics import Estimate, Group, compared, estimate, improvement, per_user
from evaluation.tables import numbers, paper
from evaluation.tables.markdown import Table

NO_JUDGE = "No judge model was asked, so there are no win rates."
NO_LABELS = "No people's labels are there, so the judge's agreement with people is not known."


def where(group: Group) -> str:
    """Which rows a table is of."""
    return f"{group.name} on {group.base}"


def quality(group: Group, metrics: Sequence[Metric] = METRICS) -> Table:
    """Table 3: methods by metrics. Of those on the most users the best stands out, where a metric has a better end."""
    methods = ordered(group.methods)
    found = [[estimate(per_user(group.rows, method, metric.name)) for metric in metrics] for method in methods]
    rows = [
        [
            label(method),
            *(numbers.mean(cell, metric.digits) for cell, metric in zip(line, metrics, strict=True)),
            str(users),
        ]
        for method, line in zip(methods, found, strict=True)
        for users in [len({row.user for row in group.rows if row.method == method and not row.variant})]
    ]
    unlike_users = len({row[-1] for row in rows}) > 1
    note = "Means over users, with 95 % bootstrap intervals over users; seeds of a user are averaged first."
    if unlike_users:
        note += " Not every method was measured on every user: compare by the paired table; the best stands out among "
        note += "those on the most users."
    if unlike := _unlike_seeds(group):
        note += f" Seeds: {unlike}. The paired table compares on those that both have."
    if commits := sorted({row.commit for row in group.rows if row.commit and not row.variant}):
        note += f" Measured at {', '.join(commits)}."
    return Table(
        f"Methods (the paper's Table 3): {where(group)}",
        ["Method", *(metric.label for metric in metrics), "Users"],
        rows,
        note,
        _best(found, metrics),
    )


def _unlike_seeds(group: Group) -> str:
    """How many seeds each trained method has, where they differ; empty where all have as many."""
    seeds = group.seeds_of
    if len(set(seeds.values())) < 2:
        return ""
    return "; ".join(f"{label(method)} {seeds[method]}" for method in ordered(seeds))


def improvements(groups: Sequence[Group]) -> Table:
    """MiLP over the best baseline of each set, relative, beside the paper's."""
    rows = []
    for group in groups:
        for metric in (ROUGE_L, PERSONA_F1, ROUGE_1):
            found = improvement(group, metric)
            if found is None:
                continue
            milp, baseline = found.comparison.a, found.comparison.b
            rows.append(
                [
                    where(group),
                    metric.label,
                    f"{label(found.baseline)}, {baseline:.{metric.digits}f}",
                    f"{milp:.{metric.digits}f}",
                    numbers.relative(found.comparison),
                    paper.improvement(group.name, metric.name),
                    paper.STANDS_FOR.get(group.name, "–"),
                    str(found.comparison.users),
                ]
            )
    head = ["Set and base", "Metric", "Best baseline", "MiLP", "Ours", "The paper's", "on its set", "Users"]
    note = (
        "Relative improvement of MiLP over the best of base, dictionary memory and MaLP, which is chosen on the test "
        "part itself. The paper's sets and base models are others."
    )
    absent = "MiLP and a baseline were not both measured, so there is no improvement to tell."
    return Table("MiLP over the best baseline, beside the paper", head, rows, note if rows else absent)


def paired(group: Group) -> Table:
    """MiLP against every other method, user by user."""
    rows = []
    for method in ordered(group.methods - {"milp"}):
        first, second, third = (compared(group, "milp", method, metric) for metric in (ROUGE_L, PERSONA_F1, LOSS))
        if first is None:
            continue
        cells = [label(method), numbers.difference(first), numbers.relative(first), numbers.p_value(first)]
        cells += [numbers.record(first), numbers.difference(second), numbers.p_value(second)]
        rows.append([*cells, numbers.difference(third, LOSS.digits), str(first.users)])
    head = ["MiLP against", "ROUGE-L", "relative", "p", "won / tied / lost"]
    head += ["Persona F1", "p", "Loss, nats (less is better)", "Users"]
    note = (
        "Differences MiLP - other on the users that both have, with 95 % paired bootstrap intervals; p is that of the "
        "paired permutation test, not corrected for the number of rows; won, tied and lost are users, by ROUGE-L."
    )
    absent = "MiLP and another method were not both measured, so nothing can be compared."
    return Table(f"MiLP user by user: {where(group)}", head, rows, note if rows else absent)


def win_rate_table(judgements: Sequence[Judgement], agreements: Sequence[Agreement] = ()) -> Table:
    """Table 4: how often the judge prefers the first method's answer; one line where no judge was asked."""
    title = "Win rates (the paper's Table 4)"
    if not judgements:
        return Table(title, note=NO_JUDGE)
    rows = []
    for found in win_rates(judgements):
        shares = [
            f"{100 * part / found.judged:.1f} %" if found.judged else "–"
            for part in (found.won, found.tied, found.lost)
        ]
        cells = [f"{found.set} on {found.base}", label(found.first), label(found.second), *shares]
        cells += [_percent(found.rate), paper.NOT_KNOWN, str(found.judged), str(found.unreadable)]
        rows.append([*cells, found.judge])
    head = ["Set and base", "Method", "against", "won", "tied", "lost", "win rate", "the paper's"]
    head += ["judged", "unreadable", "judge"]
    note = (
        "Each pair was asked in both orders; where they disagree it is a tie, as are two answers that are the same, "
        "which nobody was asked about. The win rate counts a tie as half and is "
        "a mean over users with its 95 % interval. " + _agreement(agreements)
    )
    return Table(title, head, rows, note)


def labels_of_others(judge: str) -> str:
    """Of a judge that judged none of the labelled pairs: so, and what to do."""
    return (
        f"People's labels are there, but none is of a pair that {judge} judged readably: judge the same methods as on "
        "the sheet, and without --samples."
    )


def _best(found: Sequence[Sequence[Estimate | None]], metrics: Sequence[Metric]) -> frozenset[tuple[int, int]]:
    best = set()
    for column, metric in enumerate(metrics):
        cells = {place: cell for place, line in enumerate(found) if (cell := line[column]) is not None}
        # On fewer users than others were measured on, a mean may be better for the users alone.
        most = max((cell.users for cell in cells.values()), default=0)
        means = {place: metric.better * cell.mean for place, cell in cells.items() if cell.users == most}
        if metric.better and len(means) > 1:
            best |= {(place, column + 1) for place, value in means.items() if value == max(means.values())}
    return frozenset(best)


def _percent(rate: Estimate | None) -> str:
    if rate is None:
        return numbers.NONE
    low, high = (None if end is None else 100 * end for end in (rate.low, rate.high))
    return f"{100 * rate.mean:.1f} %{numbers.span(low, high, 1, sign=False)}"


def _agreement(agreements: Sequence[Agreement]) -> str:
    if not agreements:
        return NO_LABELS
    said = []
    for found in agreements:
        if found.accuracy is None:
            said.append(labels_of_others(found.judge))
            continue
        pearson = "not defined" if found.pearson is None else f"{found.pearson:.2f}"
        alike = f"says the same in {100 * found.accuracy:.0f} % of {numbers.count(found.items, 'labelled item')}"
        said.append(f"Against people's labels, {found.judge} {alike} (Pearson {pearson}).")
    return " ".join(said)
