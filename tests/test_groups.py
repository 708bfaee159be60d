"""The command that runs every test: no file is left out, and no failure is lost between the groups."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.groups import GROUPS, REST, ROOT, Ended, all_files, each_ended, is_room, main, shared_out

GREEN = "def test_green():\n    pass\n"
RED = "def test_red():\n    assert 1 == 2\n\ndef test_green():\n    pass\n"
BROKEN = "import nowhere\n"
KILLED = "import os\n\ndef test_that_ends_it():\n    os._exit(9)\n"
# Its command computes so long by its own clock, however busy the machine is.
BUSY = "import subprocess, sys\n\ndef test_busy():\n    "
BUSY += "subprocess.run([sys.executable, '-c', 'import time\\nwhile time.process_time() < 1: pass'])\n"
SLOW = "import time\n\ndef test_slow():\n    time.sleep(60)\n"


def test_each_test_file_is_in_one_group_and_every_group_has_some() -> None:
    shares = shared_out(all_files())

    shared = [file for files in shares.values() for file in files]
    everything = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py"))
    assert sorted(shared) == everything
    assert len(shared) == len(set(shared))
    assert list(shares) == list(GROUPS)


def test_a_file_belongs_to_the_group_with_the_longest_path_and_else_to_the_rest() -> None:
    groups = {"inner": ("tests/a/b",), "one": ("tests/a/b/test_v.py",), "outer": ("tests/a",), REST: ()}
    files = ["tests/test_x.py", "tests/a/b/test_v.py", "tests/a/b/test_y.py", "tests/a/test_z.py", "tests/ab/test_w.py"]

    shares = shared_out(files, groups)

    assert shares == {
        "inner": ["tests/a/b/test_y.py"],
        "one": ["tests/a/b/test_v.py"],
        "outer": ["tests/a/test_z.py"],
        REST: ["tests/ab/test_w.py", "tests/test_x.py"],
    }


@pytest.mark.parametrize(
    ("running", "group", "room"),
    [
        pytest.param([], "system", True, id="alone"),
        pytest.param(["unit", "daemons", "engine"], "rest", True, id="a-fourth"),
        pytest.param(["unit", "daemons", "engine", "vsphere"], "rest", False, id="a-fifth"),
        pytest.param(["unit", "daemons"], "system", True, id="virtual-machines-and-two"),
        pytest.param(["system", "unit", "daemons"], "rest", False, id="a-third-beside-virtual-machines"),
    ],
)
def test_a_group_begins_when_there_is_room(running: list[str], group: str, room: bool) -> None:
    assert is_room(running, group) is room


@pytest.mark.parametrize(
    ("code", "output", "failed"),
    [
        pytest.param(0, "5 passed in 1.2s\n", [], id="all-pass"),
        pytest.param(5, "3 deselected in 0.1s\n", [], id="nothing-selected"),
        pytest.param(
            1,
            "FAILED tests/a/test_x.py::test_y[a - b] - assert 1 == 2\nERROR tests/a/test_z.py - no\n1 failed, 1 error in 2s\n",
            ["tests/a/test_x.py::test_y[a - b]", "tests/a/test_z.py"],
            id="two-fail",
        ),
        pytest.param(1, "3 passed in 1s\n", ["unit: pytest ended with 1"], id="a-plugin-fails-it"),
        pytest.param(2, "1 error in 1s\n", ["unit: pytest ended with 2"], id="a-collection-error-without-a-name"),
        pytest.param(-9, "....", ["unit: pytest ended with -9"], id="killed"),
    ],
)
def test_what_failed_in_a_group_is_named(code: int, output: str, failed: list[str]) -> None:
    assert Ended("unit", code, 1.0, output).failed == failed


def test_pytests_last_line_is_counted() -> None:
    counts = Ended("unit", 1, 1.0, "7 passed lines\n2 failed, 15 passed, 1 skipped, 3 errors in 2s\n").counts

    assert counts == {"failed": 2, "passed": 15, "skipped": 1, "error": 3}


def file(folder: Path, name: str, text: str) -> str:
    path = folder / f"test_{name}.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.integration
def test_a_run_in_which_all_passes_says_how_many(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = [file(tmp_path, "one", GREEN), file(tmp_path, "two", GREEN)]

    assert main((), {"first": files[:1], "second": files[1:]}, tmp_path) == 0

    said = capfd.readouterr().out
    assert "== first: 1 passed" in said
    assert "== all: 2 passed" in said
    assert "FAILED" not in said


@pytest.mark.integration
def test_what_a_group_computed_is_told_with_that_of_its_commands(tmp_path: Path) -> None:
    shares = {"busy": [file(tmp_path, "busy", BUSY)], "idle": [file(tmp_path, "idle", GREEN)]}

    computed = {end.group: end.computed_s for end in each_ended(shares, (), tmp_path)}

    assert computed["busy"] > 1
    assert computed["busy"] > computed["idle"] > 0


@pytest.mark.integration
@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param(RED, "::test_red", id="a-failed-test"),
        pytest.param(BROKEN, "bad: pytest ended with 2", id="a-file-that-cannot-be-imported"),
        pytest.param(KILLED, "bad: pytest ended with 9", id="a-pytest-that-dies"),
    ],
)
def test_one_bad_group_fails_the_run_and_the_others_still_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, named: str
) -> None:
    bad, good = file(tmp_path, "bad", text), file(tmp_path, "good", GREEN)

    assert main((), {"bad": [bad], "good": [good], "later": [good]}, tmp_path) == 1

    said = capfd.readouterr().out.splitlines()
    assert any(line.startswith("== good: 1 passed") for line in said)
    assert any(line.startswith("== later: 1 passed") for line in said)
    last = said[[line.startswith("== all:") for line in said].index(True) + 1 :]
    assert [line for line in last if line.startswith("FAILED ") and line.endswith(named)] != []


@pytest.mark.integration
def test_options_reach_each_group_and_a_run_of_nothing_is_a_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shares = {"red": [file(tmp_path, "red", RED)], "green": [file(tmp_path, "green", GREEN)]}

    assert main(["-k", "red"], {"red": shares["red"], "other": shares["green"]}, tmp_path) == 1
    assert "== other: nothing selected" in capfd.readouterr().out
    assert main(["-k", "nowhere_to_be_found"], shares, tmp_path) == 1
    assert "FAILED no test was selected" in capfd.readouterr().out


@pytest.mark.integration
def test_a_run_that_is_told_to_end_ends_its_groups(tmp_path: Path) -> None:
    slow, log = file(tmp_path, "slow", SLOW), tmp_path / "slow.log"
    program = "import sys; from pathlib import Path; from tests.groups import main\n"
    program += f"sys.exit(main((), {{'slow': ['{slow}']}}, Path('{tmp_path}')))"
    run = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 60
        while not log.exists() and time.monotonic() < until:
            time.sleep(0.05)
        (child,) = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        run.send_signal(signal.SIGTERM)
        said, _ = run.communicate(timeout=100)
    finally:
        run.kill()
        run.wait()

    assert run.returncode == 130
    assert f"interrupted; what the groups wrote lies in {tmp_path}" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(child), 0)
