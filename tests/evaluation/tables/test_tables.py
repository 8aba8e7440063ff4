"""Every cell of the evaluation's tables, on rows made by hand; and that the documents' tables are current."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from evaluation.judge.judgements import Judgement
from evaluation.judge.labels import Agreement
from evaluation.names import LOSS, ROUGE_L
from evaluation.results_files import write_file
from evaluation.rows import Row
from evaluation.statistics import Group, groups
from evaluation.tables import documents, grid_tables, numbers, paper, quality_tables
from evaluation.tables.markdown import Table, escaped
from tests.evaluation.made import row, rows


def only(*measured: list[Row]) -> Group:
    (group,) = groups([one for some in measured for one in some])
    return group


def line(table: Table, first: str) -> dict[str, str]:
    """The row whose first cell says so, by column; of columns of one name the first."""
    (found,) = (cells for cells in table.rows if cells[0] == first)
    assert len(found) == len(table.head)
    return dict(reversed(list(zip(table.head, found, strict=True))))


def test_the_documents_tables_are_those_of_the_committed_results() -> None:
    for path, text in documents.documents().items():
        assert path.read_text(encoding="utf-8") == text, "run `make eval-tables`"


def test_the_documents_are_written_from_the_results_files(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    for name in ("README.md", "evaluation/README.md"):
        (tmp_path / name).write_text(f"before\n{documents.BEGIN}\nold\n{documents.END}\nafter\n")
    nothing = documents.documents(tmp_path / "results", tmp_path)
    assert (
        nothing[tmp_path / "README.md"]
        == f"before\n{documents.BEGIN}\nNothing is measured yet.\n{documents.END}\nafter\n"
    )
    write_file(tmp_path / "results" / "ubuntu_irc.json", rows("base", [10.0, 10.0]) + rows("milp", [12.0, 12.0]))
    short, full, _means = documents.documents(tmp_path / "results", tmp_path).values()
    assert (
        r"| ubuntu\_irc on small | ROUGE-L | Base, 10.00 | 12.00 | +20.0 % (+20.0 to +20.0) | +26.96 % | Reddit | 2 |"
    ) in short
    assert "### Controls" in full
    assert "### Controls" not in short
    assert "old" not in short


def test_means_over_users_are_written_for_programs_too(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    for name in ("README.md", "evaluation/README.md"):
        (tmp_path / name).write_text(f"{documents.BEGIN}\n{documents.END}\n")
    results = tmp_path / "results"
    milp = rows("milp", [10.0, 14.0]) + rows("milp", [12.0, 12.0], seed=1, loss=math.nan)
    write_file(results / "ubuntu_irc.json", milp + rows("milp", [3.0], variant="trials=8"))
    made = json.loads(documents.documents(results, tmp_path)[results / "means" / "ubuntu_irc.json"])
    assert [(line["method"], line["variant"], line["users"], line["seeds"]) for line in made] == [
        ("milp", "", 2, [0, 1]),
        ("milp", "trials=8", 1, [0]),
    ]
    assert (made[0]["rouge_l"], made[0]["loss"][0], made[1]["rouge_l"]) == ([12.0, 11.0, 13.0], 3.0, [3.0, None, None])


def test_table_3_says_how_many_seeds_each_method_has_where_they_differ() -> None:
    milp, base = rows("milp", [1.0, 2.0]), rows("base", [1.0, 2.0])
    assert "Seeds:" not in quality_tables.quality(only(milp, base, rows("default_lora", [1.0, 2.0]))).note
    second = rows("milp", [3.0, 4.0], seed=1)
    note = quality_tables.quality(only(milp, second, base, rows("default_lora", [1.0, 2.0]))).note
    assert "Seeds: One default LoRA 1; MiLP 2. The paired table compares on those that both have." in note


def test_a_document_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        documents.with_tables("# no table here", "table")


def test_table_3_has_a_mean_with_interval_for_each_method_and_metric() -> None:
    group = only(rows("milp", [10.0, 10.0]), rows("base", [4.0, 6.0]), rows("unheard_of", [1.0]))
    table = quality_tables.quality(group)
    assert [cells[0] for cells in table.rows] == ["Base", "MiLP", "unheard_of"]
    found = line(table, "Base")
    assert found["ROUGE-L"] == "5.00 (4.00 to 6.00)"
    assert (found["ROUGE-1"], found["Persona F1"]) == ("6.00 (5.00 to 7.00)", "0.50 (0.40 to 0.60)")
    assert (found["Loss, nats"], found["Words"], found["Distinct-2"]) == (
        "3.000 (3.000 to 3.000)",
        "8.0 (8.0 to 8.0)",
        "0.750 (0.750 to 0.750)",
    )
    assert found["Users"] == "2"
    assert line(table, "unheard_of")["ROUGE-L"] == "1.00"
    assert "Not every method was measured on every user" in table.note


def test_table_3_marks_the_best_of_each_metric_that_has_a_better_end() -> None:
    group = only(rows("base", [4.0], loss=2.0), rows("milp", [9.0], loss=3.0, length=99.0))
    best = quality_tables.quality(group).best
    # Columns: method, ROUGE-1, ROUGE-L, Persona F1, loss, words, ...: the longer answer is no better one.
    assert best == {(1, 1), (1, 2), (1, 3), (0, 4)}
    assert quality_tables.quality(only(rows("base", [4.0]))).best == frozenset()
    assert "**9.00**" in quality_tables.quality(group).markdown()
    on_fewer_users = only(rows("base", [4.0, 4.0]), rows("milp", [5.0, 5.0]), rows("random", [9.0]))
    assert {place for place, column in quality_tables.quality(on_fewer_users).best if column == 2} == {2}


def test_the_papers_improvement_stands_beside_ours_or_is_said_to_be_unknown() -> None:
    made = rows("malp", [10.0, 30.0]) + rows("base", [1.0, 1.0]) + rows("milp", [24.0, 24.0])
    group = only(made)
    table = quality_tables.improvements(
        [group, only([row("a", "milp", 1.0, set="other"), row("a", "base", 2.0, set="other")])]
    )
    shown = [cells[1:7] for cells in table.rows]
    assert shown[0] == ["ROUGE-L", "MaLP, 20.00", "24.00", "+20.0 % (-20.0 to +140.0)", "+26.96 %", "Reddit"]
    assert shown[1][3:5] == ["+20.0 % (-20.0 to +140.0)", "+42.65 %"]
    assert shown[2][4] == "not known here"
    assert shown[3] == ["ROUGE-L", "Base, 2.00", "1.00", "-50.0 %", "not known here", "–"]


def test_the_papers_figures_are_the_four_that_are_known() -> None:
    known = {
        (name, metric): paper.improvement(name, metric)
        for name in paper.STANDS_FOR
        for metric in ("rouge_l", "persona_f1")
    }
    assert known == {
        ("ubuntu_irc", "rouge_l"): "+26.96 %",
        ("ubuntu_irc", "persona_f1"): "+42.65 %",
        ("meddialogue_simulated", "rouge_l"): "+36.85 %",
        ("meddialogue_simulated", "persona_f1"): "+23.61 %",
    }


def test_milp_is_paired_with_every_other_method_by_user() -> None:
    group = only(rows("milp", [5.0, 7.0, 3.0], loss=2.5), rows("default_lora", [4.0, 4.0, 4.0]), rows("base", [1.0]))
    table = quality_tables.paired(group)
    assert [cells[0] for cells in table.rows] == ["Base", "One default LoRA"]
    found = line(table, "One default LoRA")
    assert found["ROUGE-L"] == "+1.00 (-1.00 to +3.00)"
    assert found["relative"] == "+25.0 % (-25.0 to +75.0)"
    # Of the eight ways to give 1, 3 and -1 their signs, six have a sum as far from zero as 3.
    assert found["p"] == "0.750"
    assert found["won / tied / lost"] == "2 / 0 / 1"
    assert found["Persona F1"] == "+0.10 (-0.10 to +0.30)"
    assert found["Loss, nats (less is better)"] == "-0.500 (-0.500 to -0.500)"
    assert (line(table, "Base")["ROUGE-L"], line(table, "Base")["p"]) == ("+4.00", "–")


def judged(outcome: str, sample: int) -> Judgement:
    return Judgement("s", "small", "u", 0, sample, "milp", "base", (outcome, outcome), "a|judge")


def test_table_4_shows_shares_and_the_win_rate_with_ties_as_half() -> None:
    given = [
        judged(outcome, number) for number, outcome in enumerate(["first", "first", "tie", "second", "unreadable"])
    ]
    table = quality_tables.win_rate_table(given, [Agreement("a|judge", 20, 0.5, 0.75)])
    (cells,) = table.rows
    assert list(cells) == [
        *("s on small", "MiLP", "Base", "50.0 %", "25.0 %", "25.0 %"),
        *("62.5 %", "not known here", "4", "1", "a|judge"),
    ]
    assert "says the same in 75 % of 20 labelled items (Pearson 0.50)" in table.note
    assert "agreement with people is not known" in quality_tables.win_rate_table(given).note
    unlike = quality_tables.win_rate_table(given, [Agreement("a|judge", 0, None, None)]).note
    assert "No people's labels" not in unlike
    assert "People's labels are there, but none is of a pair that a|judge judged readably" in unlike


def test_without_a_judge_table_4_is_one_line_that_says_so() -> None:
    table = quality_tables.win_rate_table([])
    assert table.markdown() == (
        "### Win rates (the paper's Table 4)\n\nNo judge model was asked, so there are no win rates."
    )


def test_table_5_compares_each_space_with_all_on_the_same_users() -> None:
    group = only(
        rows("milp", [10.0, 20.0, 90.0]),
        rows("milp", [8.0, 16.0], variant="space=size+layer"),
        rows("milp", [9.0, 19.0], variant="space=num"),
    )
    table = grid_tables.ablation(group)
    assert [cells[0] for cells in table.rows] == ["num", "size+layer", "all"]
    found = line(table, "size+layer")
    assert found["ROUGE-L"] == "12.00 (8.00 to 16.00)"
    assert (found["minus all"], found["relative"]) == ("-3.00 (-4.00 to -2.00)", "-20.0 % (-20.0 to -20.0)")
    assert (found["Persona F1 minus all"], found["The paper's"], found["Users"]) == (
        "-0.30 (-0.40 to -0.20)",
        "not known here",
        "2",
    )
    assert line(table, "all")["ROUGE-L"].startswith("40.00 ")
    assert grid_tables.ablation(only(rows("milp", [1.0]))).note == "The search subspaces were not evaluated."


def test_sensitivity_is_ordered_by_what_is_varied_and_by_number() -> None:
    varied = ["epochs=6", "history=0.25", "trials=12", "history=0.1", "learning_rate=0.0005", "new=x"]
    group = only(rows("milp", [10.0, 20.0]), *(rows("milp", [9.0, 9.0], variant=variant) for variant in varied))
    table = grid_tables.sensitivity(group)
    assert [tuple(cells[:2]) for cells in table.rows] == [
        ("Share of the history", "0.1"),
        ("Share of the history", "0.25"),
        ("Trials", "12"),
        ("Learning rate", "0.0005"),
        ("Epochs", "6"),
        ("new", "x"),
    ]
    found = line(table, "Trials")
    assert (found["Method"], found["ROUGE-L"], found["minus standard"]) == (
        "MiLP",
        "9.00 (9.00 to 9.00)",
        "-6.00 (-11.00 to -1.00)",
    )
    assert grid_tables.sensitivity(only(rows("milp", [1.0]))).note.startswith("Nothing was varied")


def test_controls_tell_how_much_of_the_gain_the_domain_explains() -> None:
    group = only(
        rows("base", [4.0, 4.0]),
        rows("milp", [12.0, 8.0]),
        rows("default_lora", [9.0, 7.0]),
        rows("other_user", [5.0, 6.0]),
        rows("domain_lora", [5.0, 7.0]),
    )
    table = grid_tables.controls(group)
    found = line(table, "One LoRA of all other users")
    assert found["ROUGE-L"] == "6.00"
    assert found["MiLP above it"] == "+4.00 (+1.00 to +7.00)"
    assert found["won / tied / lost"] == "2 / 0 / 0"
    assert found["above the base"] == "+2.00 (+1.00 to +3.00)"
    # Each beside what is trained like it, once: 2 of the 4 that one default LoRA gains, 1.5 of MiLP's 6.
    assert (found["trained like"], found["share of that one's gain"]) == ("One default LoRA", "50 %")
    other = line(table, "Another user's stack")
    assert (other["trained like"], other["share of that one's gain"]) == ("MiLP", "25 %")
    nothing_gained = only(rows("base", [4.0]), rows("milp", [4.0]), rows("other_user", [5.0]))
    assert line(grid_tables.controls(nothing_gained), "Another user's stack")["share of that one's gain"] == "–"
    assert "not known" in grid_tables.controls(only(rows("milp", [1.0]))).note


def test_a_control_of_one_seed_is_set_against_what_it_controls_in_that_seed_alone() -> None:
    group = only(
        rows("base", [4.0, 4.0]),
        rows("milp", [12.0, 8.0]),
        [row("u0", "milp", 4.0, seed=1), row("u1", "milp", 4.0, seed=1)],
        rows("other_user", [5.0, 6.0]),
    )
    found = line(grid_tables.controls(group), "Another user's stack")
    assert (found["MiLP above it"], found["share of that one's gain"]) == ("+4.50 (+2.00 to +7.00)", "25 %")


def test_cost_counts_the_tokens_that_the_memory_prompts_would_have_needed() -> None:
    spent = {"seconds": 200.0, "parameters": 49152, "bytes": 4908336}
    group = only(
        rows("base", [1.0, 1.0], prompt_tokens=30.0),
        rows("dictionary_memory", [1.0, 1.0], prompt_tokens=250.5, bytes=900),
        rows("milp", [3.0, 3.0], prompt_tokens=30.0, **spent),
    )
    table = grid_tables.cost(group)
    found = line(table, "MiLP")
    assert (found["ROUGE-L"], found["Learning and choosing"]) == ("3.00 (3.00 to 3.00)", "3.3 min")
    assert (found["Trained parameters"], found["Stored"], found["Prompt, tokens"]) == ("49,152", "4.9 MB", "30.0")
    assert (found["fewer than Dictionary memory"], found["fewer than MaLP"]) == ("+220.5", "–")
    untimed = grid_tables.cost(only(rows("milp", [1.0], seconds=float("nan"), prompt_tokens=30.0)))
    assert line(untimed, "MiLP")["Learning and choosing"] == "not timed"
    memory = line(table, "Dictionary memory")
    assert (memory["Stored"], memory["fewer than Dictionary memory"]) == ("900 B", "–")


def test_the_gates_table_is_against_all_baselines_and_against_base_and_memory() -> None:
    milp = [row(f"u{n}", "milp", score, activated=on) for n, (score, on) in enumerate([(9.0, True), (3.0, False)])]
    group = only(milp, rows("base", [1.0, 2.0]), rows("dictionary_memory", [2.0, 2.0]), rows("malp", [1.0, 5.0]))
    shown = [list(cells[1:]) for cells in grid_tables.gate([group]).rows]
    assert shown == [
        ["Base, Dictionary memory, MaLP", "2", "1", "1", "1 of 1 (100 %)", "1", "0 of 1 (0 %)"],
        ["Base, Dictionary memory", "2", "1", "0", "–", "2", "1 of 2 (50 %)"],
    ]
    without_malp = only(milp, rows("base", [1.0, 2.0]))
    assert len(grid_tables.gate([without_malp]).rows) == 1
    assert grid_tables.gate([only(rows("milp", [1.0]))]).note.startswith("No gate's decision")


def test_any_subset_of_methods_makes_all_tables_and_no_number_is_made_up() -> None:
    for method in ("base", "milp", "malp", "other_user", "random"):
        made = documents.all_tables(rows(method, [3.0]))
        assert "nan" not in documents.markdown(made)
        assert [table.note for table in made if not table.rows]
    assert documents.markdown(documents.all_tables([])).count("\n|") == 0


def test_a_score_that_is_not_finite_is_left_out_and_shown_as_missing() -> None:
    group = only(rows("base", [1.0], loss=math.nan), rows("milp", [2.0]))
    found = line(quality_tables.quality(group, (ROUGE_L, LOSS)), "Base")
    assert (found["Loss, nats"], found["ROUGE-L"]) == ("–", "1.00")


def test_names_from_outside_are_no_markup_in_a_table() -> None:
    assert escaped("a|b *c* <d>\n_e_ `f` [g](h)") == r"a\|b \*c\* \<d\> \_e\_ \`f\` \[g\](h)"
    made = Table("t|u", ["x"], [["1|2"]], "n_").markdown()
    assert made == "### t\\|u\n\n| x |\n|---|\n| 1\\|2 |\n\nn\\_"


def test_numbers_are_written_in_the_unit_that_fits_and_without_minus_zero() -> None:
    assert [numbers.byte_size(value) for value in (999, 1000, 2_500_000, 3e9)] == [
        "999 B",
        "1.0 kB",
        "2.5 MB",
        "3.0 GB",
    ]
    assert [numbers.duration(value) for value in (0.0, 119.96, 120)] == ["0.0 s", "120.0 s", "2.0 min"]
    assert [numbers.signed(value) for value in (-0.001, 0.0, 1.005, -2)] == ["0.00", "0.00", "+1.00", "-2.00"]
    assert [numbers.count(value, "user") for value in (1, 2, 1000)] == ["1 user", "2 users", "1,000 users"]
