"""What is shipped for Prometheus and Grafana: the rules alarm when they should, and name only what the service tells."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.esx.test_metrics import NAMES
from vmdkvol.errors import BY_CODE

ROOT = Path(__file__).parents[3]
HERE = ROOT / "packaging" / "monitoring"
RULES, TESTS = HERE / "alerts.yml", HERE / "alerts-test.yml"
TOLD = {f"{name}{end}" for name in NAMES for end in ("", "_bucket", "_count", "_sum", "_total")}
ALERTS = re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8"))


def promtool(*words: str, at: Path = HERE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *words], cwd=at, capture_output=True, text=True, check=False)


def named(text: str) -> set[str]:
    """Return the metrics of ours that a text names."""
    return set(re.findall(r"\bvmdkvol_[a-z_]+\b", text))


@pytest.mark.integration
def test_prometheus_takes_the_rules() -> None:
    assert promtool("check", "rules", RULES.name).returncode == 0


@pytest.mark.integration
def test_each_rule_alarms_when_it_should_and_not_otherwise() -> None:
    done = promtool("test", "rules", TESTS.name)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.integration
@pytest.mark.parametrize("alert", ALERTS)
def test_the_tests_of_the_rules_notice_a_rule_that_never_alarms(alert: str, tmp_path: Path) -> None:
    before, rule = RULES.read_text(encoding="utf-8").split(f"- alert: {alert}\n")
    # The first expression after it is this rule's, in its own line or in the next.
    broken = re.sub(r"expr: (\|\s+)?", lambda found: f"{found[0]}vector(1) < 0 and on () ", rule, count=1)
    (tmp_path / "alerts.yml").write_text(f"{before}- alert: {alert}\n{broken}", encoding="utf-8")
    (tmp_path / TESTS.name).write_text(TESTS.read_text(encoding="utf-8"), encoding="utf-8")
    assert promtool("check", "rules", "alerts.yml", at=tmp_path).returncode == 0
    assert promtool("test", "rules", TESTS.name, at=tmp_path).returncode != 0


def test_the_rules_name_only_what_the_service_tells() -> None:
    lines = [line for line in RULES.read_text(encoding="utf-8").splitlines() if "description" not in line]
    assert named("\n".join(lines)) <= TOLD


def test_the_results_that_count_as_errors_are_codes() -> None:
    (listed,) = re.findall(r'result=~"([^"]+)"', RULES.read_text(encoding="utf-8"))
    assert set(listed.split("|")) <= set(BY_CODE)


def test_what_is_to_be_done_at_each_alert_stands_in_the_documents() -> None:
    page = (ROOT / "docs" / "how-to" / "monitoring.md").read_text(encoding="utf-8")
    assert [alert for alert in ALERTS if f"`{alert}`" not in page] == []


def made() -> dict[str, Any]:
    dashboard: dict[str, Any] = runpy.run_path(str(HERE / "dashboard.py"))["dashboard"]()
    return dashboard


def test_the_dashboard_is_what_its_script_makes() -> None:
    assert json.loads((HERE / "dashboard.json").read_text(encoding="utf-8")) == made()


def test_the_dashboard_names_only_what_the_service_tells() -> None:
    expressions = [target["expr"] for panel in made()["panels"] for target in panel["targets"]]
    assert named("\n".join(expressions)) - TOLD == set()


def test_the_labels_of_a_legend_are_those_of_its_metric() -> None:
    for panel in made()["panels"]:
        for target in panel["targets"]:
            known = {label for name in named(target["expr"]) for label in _labels(name)}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= known, panel["title"]


def _labels(name: str) -> set[str]:
    plain = re.sub(r"_(bucket|count|sum|total)$", "", name)
    return NAMES[plain][1] if plain in NAMES else NAMES[name][1]


def test_no_two_panels_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in made()["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.integration
def test_prometheus_understands_each_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"vmdkvol:panel{panel['id']}_{number}", "expr": target["expr"].replace("$__rate_interval", "5m")}
        for panel in made()["panels"]
        for number, target in enumerate(panel["targets"])
    ]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    done = promtool("check", "rules", "panels.yml", at=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
