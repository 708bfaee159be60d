"""Completion in a real bash: what Tab offers, and that a hostile name stays a name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.doubles.small_api import Says, SmallApi

pytestmark = pytest.mark.integration

_TAB = """
. <(vmdkvol completion bash)
COMP_WORDS=(vmdkvol %s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
_vmdkvol_completion vmdkvol
printf '%%s\\n' "${COMPREPLY[@]}"
"""


def tab(tmp_path: Path, words: str) -> list[str]:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "VMDKVOL_API": f"unix://{tmp_path}/s",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        ["bash", "--norc", "-c", _TAB % words],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def test_tab_offers_commands_options_and_names_and_runs_none_of_them(tmp_path: Path) -> None:
    names = ["prod", "play", "$(touch ran)", "`touch ran`", "*", "a;touch ran"]
    api = SmallApi(tmp_path / "s", [Says({"vmgroups": [{"name": name} for name in names], "next": None})])
    try:
        assert "vmgroup" in tab(tmp_path, "vmg")
        assert "--filter" in tab(tmp_path, "vmgroup ls --fil")
        assert tab(tmp_path, "vmgroup inspect ''") == ["play", "prod"]
        assert tab(tmp_path, "vmgroup rm pr") == ["prod"]
    finally:
        api.stop()
    assert tab(tmp_path, "vm 'x'") == []
    assert not (tmp_path / "ran").exists()
