"""What every command of the tree has: a change its dry run, what loses something its question, what reads its JSON."""

from __future__ import annotations

import click
import pytest

from tests.commands import commands
from vmdkvol.cli.render import FORMATS

COMMANDS = dict(commands())
# What neither changes the site nor reads from it: shells, waiting, this machine's own sandbox and files.
_OWN = {
    "vmdkvol completion",
    "vmdkvol sandbox down",
    "vmdkvol sandbox up",
    "vmdkvol task wait",
    "vmdkvol volume wait",
}
# Its form is chosen by --form, of which JSON is one; it is written into a file that says what is in it.
_OTHERWISE = {"vmdkvol audit export": "--form", "vmdkvol support-bundle": "--file"}
_READING = {"ls", "inspect", "status", "explain", "doctor", "maintenance", "scan", "volumes"}
CHANGES = sorted(name for name in COMMANDS if name.split()[-1] not in _READING and name not in _OWN | _OTHERWISE.keys())
READS = sorted(name for name in COMMANDS if name.split()[-1] in _READING)
# What cannot be taken back, or takes something from somebody who uses it.
LOSING = {
    "vmdkvol orphans mend",
    "vmdkvol vm revoke",
    "vmdkvol vmgroup rm",
    "vmdkvol volume detach",
    "vmdkvol volume move",
    "vmdkvol volume release",
    "vmdkvol volume rename",
    "vmdkvol volume rm",
}
# Their objects have a revision, and they are for one that is there.
REVISED = {
    *(f"vmdkvol volume {verb}" for verb in ("detach", "move", "release", "rename", "resize", "restore", "rm", "set")),
    *(f"vmdkvol vmgroup {verb}" for verb in ("rm", "update")),
    *(f"vmdkvol vmgroup access {verb}" for verb in ("add", "rm", "set")),
    *(f"vmdkvol vmgroup vm {verb}" for verb in ("add", "replace", "rm")),
    *(f"vmdkvol policy {verb}" for verb in ("apply", "rm", "unset", "update")),
}


def flags(name: str) -> set[str]:
    return {flag for parameter in COMMANDS[name].params for flag in parameter.opts}


def formats(name: str) -> set[str]:
    """Return what ``-o`` or ``--output`` of a command may be."""
    kinds = [parameter.type for parameter in COMMANDS[name].params if "--output" in parameter.opts]
    return {choice for kind in kinds if isinstance(kind, click.Choice) for choice in kind.choices}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_has_a_dry_run_and_an_outcome_for_programs(name: str) -> None:
    assert "--dry-run" in flags(name)
    assert {"json", "yaml"} <= formats(name)


@pytest.mark.parametrize("name", READS)
def test_everything_that_reads_can_be_read_by_programs(name: str) -> None:
    assert formats(name) >= set(FORMATS)
    assert "--dry-run" not in flags(name)


@pytest.mark.parametrize(("name", "flag"), sorted(_OTHERWISE.items()))
def test_what_writes_files_has_a_form_of_its_own(name: str, flag: str) -> None:
    assert flag in flags(name)


def test_what_loses_something_asks_and_nothing_else_does() -> None:
    assert {name for name in COMMANDS if "--yes" in flags(name)} == LOSING


def test_what_changes_an_object_with_a_revision_can_be_told_which_one_was_seen() -> None:
    assert {name for name in COMMANDS if "--if-revision" in flags(name)} == REVISED


def test_the_lists_name_only_commands_that_there_are() -> None:
    assert COMMANDS.keys() >= _OWN | _OTHERWISE.keys() | LOSING | REVISED
