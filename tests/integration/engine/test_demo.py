"""`make demo` and `make demo-vsphere` are run by nobody but newcomers: here they are, and what they say of a wrong step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.engine]
ROOT = Path(__file__).parents[3]


def python(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_demo_shows_the_main_job_and_leaves_nothing() -> None:
    done = python("-m", "tests.demo")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nkept on a VMDK\n" in done.stdout
    assert "every step as expected, nothing left behind" in done.stdout.splitlines()[-1]


@pytest.mark.vcsim_injected
@pytest.mark.parametrize("model", ["vcenter", "esxi"])
def test_the_demo_on_a_simulated_server_shows_the_main_job_and_leaves_nothing(model: str) -> None:
    done = python("-m", "tests.demo_vsphere", model)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nkept on a VMDK\n" in done.stdout
    assert "every step as expected, nothing left behind" in done.stdout.splitlines()[-1]


def test_a_step_that_is_not_as_expected_fails_the_demo_and_leaves_nothing() -> None:
    wrong = "import sys; from tests import demo; demo._is_one_gib_volume = lambda text: False; sys.exit(demo.main())"

    done = python("-c", wrong)

    assert done.returncode == 1
    assert "demo: FAILED: that is not the expected output" in done.stderr
    assert "left behind" not in done.stderr
