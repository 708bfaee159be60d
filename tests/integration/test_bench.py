"""The bench runs, leaves nothing, and finds what is wrong with a subject. How fast anything is is not judged here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.bench.figures import Verdict
from tests.bench.subject import ran

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.bench", "--quick", "--json", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=380)


def lines(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {line["key"]: line for line in json.loads(done.stdout)["lines"]}


def test_a_smoke_run_measures_each_line_of_its_rows_and_tells_the_machine() -> None:
    done = bench("--rows", "processes,mount,get")

    run, found = json.loads(done.stdout), lines(done)
    assert (done.returncode, [line["error"] for line in found.values()]) == (0, [""] * 7), done.stderr
    assert found["mount"]["rounds"] + found["mount"]["dropped"] == 2
    assert found["mount"]["ours"] > 0
    assert found["get.cpu"]["ratio"]["low"] <= found["get.cpu"]["ratio"]["median"]
    assert {line["verdict"] for line in found.values()} <= {str(verdict) for verdict in Verdict}
    assert run["machine"]["cores"] > 0
    assert len(run["load_before"]) == len(run["load_after"]) == 3
    assert "bench 3/3 get" in done.stderr


def test_the_end_of_a_command_is_seen_when_it_comes() -> None:
    ends = "import os, time; time.sleep(0.07); print(time.perf_counter(), flush=True); os._exit(0)"
    late = (-float(ran(sys.executable, "-S", "-c", ends)) + time.perf_counter() for _ in range(100))

    # Once is enough: a busy machine comes to it late, and who looks every now and then never does so soon.
    assert any(each < 0.01 for each in late)


def test_a_command_that_fails_or_does_not_end_is_no_figure() -> None:
    with pytest.raises(AssertionError, match="no such thing"):
        ran("sh", "-c", "echo no such thing >&2; exit 1")
    with pytest.raises(AssertionError, match="did not end within 0 s"):
        ran("sleep", "60", limit_s=0.1)


def test_a_subject_that_starts_processes_and_one_that_leaks_are_found() -> None:
    done = bench("--spoil", "--rows", "processes,leaks")

    found = lines(done)
    assert done.returncode == 0, done.stderr
    # Each cycle leaks one; another one may just be in use.
    leaked = re.match(r"descriptors (\d+), inotify 0, threads (\d+),", found["leaks"]["notes"])
    assert leaked is not None
    assert int(leaked[1]) >= 8
    assert [found[key]["value"] > 0 for key in ("processes.mount", "processes.unmount", "processes.create")] == [True] * 3
    assert "spoiled subjects that were not found: none" in done.stderr
