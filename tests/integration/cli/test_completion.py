"""Completion in real shells at a terminal: what Tab offers, and that a hostile name stays a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.small_api import Says, SmallApi
from tests.integration.cli.shells import PROGRAMS, Shell, shell

pytestmark = pytest.mark.integration

HOSTILE = ("$(touch ran)", "`touch ran`", "*", "a;touch ran")
NAMES = ("prod", "play", "web@ds1", *HOSTILE)
# Takes away what stands on the line.
NEW = "\x15"


@pytest.fixture(params=sorted(PROGRAMS))
def typed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    """A shell, in a folder of its own, that completes with the names of a service."""
    api = SmallApi(tmp_path / "s", [Says({"vmgroups": [{"name": name} for name in NAMES], "next": None})])
    try:
        with shell(request.param, tmp_path, tmp_path / "s") as opened:
            yield opened
    finally:
        api.stop()


def test_tab_completes_commands_options_and_names(typed: Shell) -> None:
    for begun, whole in (
        ("vmdkvol vmg", "vmdkvol vmgroup"),
        ("vmdkvol vmgroup ls --fil", "vmdkvol vmgroup ls --filter"),
        ("vmdkvol vmgroup inspect pr", "vmdkvol vmgroup inspect prod"),
        ("vmdkvol vmgroup inspect web@", "vmdkvol vmgroup inspect web@ds1"),
        ("vmdkvol vmgroup inspect web@d", "vmdkvol vmgroup inspect web@ds1"),
        ("vmdkvol volume inspect --vmgroup pl", "vmdkvol volume inspect --vmgroup play"),
        ("vmdkvol vmgroup ls -c name,vm_c", "vmdkvol vmgroup ls -c name,vm_count"),
        ("vmdkvol explain vmgroup-not-f", "vmdkvol explain vmgroup-not-found"),
    ):
        typed.type(f"{NEW}{begun}\t")
        typed.until(whole)


def test_tab_offers_no_name_that_a_shell_would_run(typed: Shell, tmp_path: Path) -> None:
    typed.type("vmdkvol vmgroup inspect \t\t")
    shown = typed.until("web@ds1")

    assert {name for name in HOSTILE if name in shown} == set()
    typed.type(f"{NEW}true\n")
    typed.until("ready> ")
    assert not (tmp_path / "ran").exists()


def test_without_a_service_tab_offers_nothing_and_says_nothing(tmp_path: Path) -> None:
    for name in sorted(PROGRAMS):
        with shell(name, tmp_path, tmp_path / "nobody") as opened:
            opened.type("vmdkvol vmgroup inspect \t")
            opened.until("vmdkvol vmgroup inspect ")
            opened.type(f"{NEW}true\n")
            shown = opened.until("ready> ")
            assert "vmdkvol:" not in shown
            assert "Traceback" not in shown


def test_fish_shows_a_description_with_its_commas(tmp_path: Path) -> None:
    with shell("fish", tmp_path, tmp_path / "nobody") as opened:
        opened.type("complete -C 'vmdkvol vmg'\n")
        opened.until("who may use which datastores, and how much.")


def test_bash_completes_the_value_behind_an_equals_sign(tmp_path: Path) -> None:
    api = SmallApi(tmp_path / "s", [Says({"vmgroups": [{"name": name} for name in NAMES], "next": None})])
    try:
        with shell("bash", tmp_path, tmp_path / "s") as opened:
            opened.type("vmdkvol volume create x -o size=1gb --vmgroup=pr\t")
            opened.until("--vmgroup=prod")
    finally:
        api.stop()
