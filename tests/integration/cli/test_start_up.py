"""`vmdkvol --version` answers at once, because a command loads only what it needs."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration
HEAVY = ("rich", "cattrs", "flask", "gunicorn", "sqlalchemy", "sqlite3", "asyncio", "http.client")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_command_loads_nothing_heavy() -> None:
    code = f"import sys, vmdkvol.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"

    assert python(code) == "[]"


@pytest.mark.parametrize("command", [[], ["volume"], ["volume", "ls"], ["vmgroup", "access", "set"], ["audit", "export"]])
def test_help_loads_neither_http_nor_what_draws_tables(command: list[str]) -> None:
    asked = f"run(cli, 'vmdkvol', {[*command, '--help']!r})"
    code = f"import sys; from vmdkvol.cli.main import cli; from vmdkvol.command import run; {asked}"

    assert python(f"{code}; print([name for name in {HEAVY!r} if name in sys.modules])").endswith("\n[]")


@pytest.mark.parametrize("program", ["vmdkvol_guest.cli", "vmdkvol_esx.cli"])
def test_a_daemons_help_does_not_load_what_serving_needs(program: str) -> None:
    code = f"import sys, {program}; print([name for name in ('flask', 'gunicorn', 'sqlalchemy') if name in sys.modules])"

    assert python(code) == "[]"


# What each of them does not need for its first answer. asyncio and rich came along with libraries that were asked for less.
UNUSED = {
    "vmdkvol_guest.daemon": ("flask", "werkzeug", "cattrs", "pyudev", "sqlite3", "rich", "asyncio", "vmdkvol_guest.worker"),
    "vmdkvol_guest.worker": ("cattrs", "pyudev", "rich", "asyncio", "sqlalchemy", "alembic", "gunicorn"),
    # The vSphere bindings are 27 MB: only a service that talks to vSphere pays for them. http.client comes with Prometheus'.
    "vmdkvol_esx.daemon": ("cattrs", "rich", "flask", "gunicorn", "pyVmomi", "vmdkvol_esx.vsphere.connections"),
}


@pytest.mark.parametrize("module", UNUSED)
def test_a_daemon_loads_what_it_serves_with_and_no_more(module: str) -> None:
    """Counted, since seconds and bytes of a start are another matter on each machine: see tests/measures/daemons.py."""
    assert python(f"import sys, {module}; print([name for name in {UNUSED[module]!r} if name in sys.modules])") == "[]"


def test_the_version_is_told_within_150_ms() -> None:
    """Counted as processor time: that is what an idle machine's clock shows, and a busy one's does not."""
    best = 1.0
    for _ in range(5):
        before = children_cpu_s()
        done = subprocess.run([sys.executable, "-m", "vmdkvol.cli.main", "--version"], capture_output=True, text=True)
        best = min(best, children_cpu_s() - before)
        assert done.stdout.startswith("vmdkvol 0.")
    assert best < 0.15


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def shell(line: str) -> tuple[int, str]:
    """Run a line of bash with ``$vmdkvol``; return the command's own exit code, and what it wrote to its error output."""
    script = f'vmdkvol="{sys.executable} -m vmdkvol.cli.main"; {line}'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr


def test_a_reader_that_has_enough_is_no_error() -> None:
    assert shell("$vmdkvol explain -o json | head -c 0; exit ${PIPESTATUS[0]}") == (0, "")


def test_a_closed_output_is_no_bug() -> None:
    assert shell("$vmdkvol explain >&-") == (0, "")


def test_a_full_disk_under_the_output_is_told() -> None:
    assert shell("$vmdkvol explain > /dev/full") == (1, "vmdkvol: No space left on device [os-error]\n")


def test_doctor_as_another_user_says_what_it_cannot_see_and_goes_on() -> None:
    code = "import json, os, sys; from vmdkvol.cli import doctor, render; from vmdkvol.cli.layout import Layout; "
    code += (
        "import pathlib, shutil, click.testing; from rich import cells; os.setgroups([]); os.setgid(65534); os.setuid(65534); "
    )
    code += "print(json.dumps([(found.status, found.check) for found in doctor.examine(Layout.at(pathlib.Path('/root/x')))]))"

    found = [tuple(each) for each in json.loads(python(code))]

    assert ("FAIL", "root") in found
    assert ("FAIL", "sandbox") in found
    assert ("OK", "boot id") in found
