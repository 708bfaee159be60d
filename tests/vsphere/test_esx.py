"""`make test-esx`: what it says of its runs. On a real endpoint nobody of us has run it; dry, the endpoint is a simulator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import proven
from tests.contract.checklist import CHECKLIST, Line
from tests.contract.proven import LEFT_OUT, Where
from tests.vsphere import esx
from tests.vsphere.simulators import ROOT

KNOWN = {name for _, name in proven.promises()}


def test_what_is_left_out_is_a_test_of_the_suite() -> None:
    assert LEFT_OUT.keys() <= KNOWN


def test_every_promise_is_shown_without_vsphere() -> None:
    assert all({Where.SIMULATED, Where.LOCAL} <= set(proven.shown(name)) for name in KNOWN)


@pytest.mark.parametrize("line", CHECKLIST, ids=lambda line: line.id)
def test_a_line_of_the_checklist_names_tests_that_run_on_a_real_endpoint_or_what_to_do_by_hand(line: Line) -> None:
    assert bool(line.tests) is not bool(line.by_hand)
    assert all(name in KNOWN and Where.REAL in proven.shown(name) for name in line.tests)


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        ({"test_a": "shown", "test_b": "shown"}, "shown"),
        ({"test_a": "shown", "test_b": "FAILED"}, "FAILED"),
        ({"test_a": "shown"}, "not run"),
        ({}, "not run"),
    ],
)
def test_a_line_is_shown_by_all_of_its_tests(ended: dict[str, str], says: str) -> None:
    assert esx.verdict(Line("x", "it works", ("test_a", "test_b")), ended) == says


def test_one_case_that_failed_fails_its_test(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    cases = '<testcase name="test_a[x]"/><testcase name="test_a[y]"><failure/></testcase><testcase name="test_a[z]"/>'
    others = '<testcase name="test_b"><skipped/></testcase><testcase name="test_c"/>'
    report.write_text(f"<testsuites><testsuite>{cases}{others}</testsuite></testsuites>")

    assert esx.outcomes(report) == {"test_a": "FAILED", "test_b": "FAILED", "test_c": "shown"}


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": ":".join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "tests.vsphere.esx", *argv]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.integration
@pytest.mark.vcsim_injected
def test_a_dry_run_says_that_it_is_one_and_what_it_has_run() -> None:
    """All of it: whatever would ask for an act that nobody can do on a real site fails here."""
    done = run("--dry")

    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing below is shown of vSphere" in lines[0]
    assert "ran dry   what is there: a disk that was never made is positively absent" in lines
    assert not {"not run", "shown"} & {line.strip() for line in lines}
    assert "skipped" not in done.stdout
    assert "left out  create: a full datastore takes not even a thin disk" in lines
    assert any(line.strip().startswith("by hand: ") for line in lines)


@pytest.mark.integration
def test_settings_that_are_no_service_s_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "service.toml"
    file.write_text('state_dir = "/var/lib/x"\n')
    file.chmod(0o600)

    done = run(str(file))

    assert done.returncode != 0
    assert "there is no datastore" in done.stdout + done.stderr


@pytest.mark.integration
def test_without_settings_it_says_how_it_is_called() -> None:
    done = run()

    assert (done.returncode, done.stderr.startswith("usage: make test-esx")) == (2, True)
