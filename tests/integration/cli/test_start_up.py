"""`vmdkvol --version` answers at once, because a command loads only what it needs."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.integration
HEAVY = ("rich", "structlog", "cattrs", "flask", "gunicorn", "sqlalchemy", "sqlite3", "asyncio", "http.client")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_command_loads_nothing_heavy() -> None:
    code = f"import sys, vmdkvol.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"

    assert python(code) == "[]"


@pytest.mark.parametrize("program", ["vmdkvol_guest.cli", "vmdkvol_esx.cli"])
def test_a_daemons_help_does_not_load_what_serving_needs(program: str) -> None:
    code = f"import sys, {program}; print([name for name in ('flask', 'gunicorn', 'sqlalchemy') if name in sys.modules])"

    assert python(code) == "[]"


def test_the_version_is_told_within_150_ms() -> None:
    best = 1.0
    for _ in range(10):
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "vmdkvol.cli.main", "--version"], capture_output=True, text=True)
        best = min(best, time.monotonic() - began)
        assert done.stdout.startswith("vmdkvol 0.")
    assert best < 0.15
