"""The dashboard and the alerts: every expression parses, and names figures and labels that the service really has."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.support.keys import AUTH

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "ops" / "grafana-dashboard.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((ROOT / "ops" / "alerts.yml").read_text(encoding="utf-8"))
OF_PROMETHEUS = {"instance", "job"}
"""Labels that Prometheus gives to whatever it scrapes."""
Exposed = dict[str, dict[str, set[str]]]


@pytest.fixture
def exposed(settings: Settings) -> Exposed:
    """All that /metrics shows: the values of each label, by the name of the figure."""
    app = create_app(settings.model_copy(update={"base_model": str(settings.data_dir / "none")}))
    with TestClient(app, headers=AUTH) as client:
        client.get("/v1/users")
        text = client.get("/metrics").text
    found: Exposed = defaultdict(lambda: defaultdict(set))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found[sample.name]
            for label, value in sample.labels.items():
                found[sample.name][label].add(value)
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in ALERTS["groups"] for rule in group["rules"]]


def targets() -> Iterator[tuple[str, str, str]]:
    """Each panel's title, expression and legend."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"], target["legendFormat"]


def parts_of(expression: str) -> list[Any]:
    """Every node of a PromQL expression. Raises ValueError where it does not parse."""
    nodes: list[Any] = []
    promql_parser.walk(promql_parser.parse(expression), nodes.append)
    return nodes


def unknown_in(expression: str, exposed: Exposed) -> list[str]:
    """What an expression names that no figure of it has."""
    nodes = parts_of(expression)
    selectors = [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]
    wrong = [f"no figure {s.name}" for s in selectors if s.name not in exposed]
    for selector in selectors:
        labels = exposed[selector.name]
        for matcher in selector.matchers.matchers:
            values = labels.get(matcher.name)
            if values is None:
                wrong.append(f"{selector.name} has no label {matcher.name}")
            # Statuses of requests and routes are too many to have all happened here.
            elif matcher.name in ("phase", "state", "decision", "mode") or selector.name == "milp_jobs":
                wrong += [f"no {matcher.name} {v}" for v in matcher.value.split("|") if v not in values]
    known = {label for selector in selectors for label in exposed[selector.name]} | OF_PROMETHEUS
    for node in nodes:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            wrong += [f"no label {label}" for label in node.modifier.labels if label not in known]
    return wrong


def test_every_expression_of_the_alerts_is_about_figures_that_there_are(exposed: Exposed) -> None:
    assert len(rules()) >= 10
    assert {rule["alert"]: unknown_in(rule["expr"], exposed) for rule in rules()} == {r["alert"]: [] for r in rules()}


def test_every_expression_of_the_dashboard_is_about_figures_that_there_are(exposed: Exposed) -> None:
    found = list(targets())
    assert len(found) >= 20
    assert [(title, wrong) for title, expr, _ in found if (wrong := unknown_in(expr, exposed))] == []
    for title, expr, legend in found:
        grouped = {
            label
            for n in parts_of(expr)
            if isinstance(n, promql_parser.AggregateExpr) and n.modifier
            for label in n.modifier.labels
        }
        assert set(re.findall(r"{{(\w+)}}", legend)) <= grouped, title


def test_every_figure_of_the_service_is_on_the_dashboard_or_in_an_alert(exposed: Exposed) -> None:
    named = {
        node.name
        for expression in (*(expr for _, expr, _ in targets()), *(rule["expr"] for rule in rules()))
        for node in parts_of(expression)
        if isinstance(node, promql_parser.VectorSelector)
    }
    families = {re.sub(r"_(total|bucket|count|sum|created)$", "", name) for name in exposed}
    assert families - {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in named} == set()


@pytest.mark.parametrize(
    "wrong", ["milp_nothing", 'milp_jobs{status="asleep"}', 'milp_workers{x="y"}', "sum by (nothing) (milp_jobs)"]
)
def test_what_there_is_not_is_found(exposed: Exposed, wrong: str) -> None:
    assert unknown_in(wrong, exposed) != []


def test_an_expression_that_does_not_parse_is_refused() -> None:
    with pytest.raises(ValueError, match="unclosed"):
        parts_of("sum(milp_jobs")


def test_the_alerts_are_in_prometheus_form_and_say_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "1m")), rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]


def test_the_dashboards_panels_lie_beside_each_other_and_take_the_data_source_that_is_chosen() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not taken & cells, panel["title"]
        taken |= cells
    assert {panel["datasource"]["uid"] for panel in panels if "targets" in panel} == {"${datasource}"}
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource"]
