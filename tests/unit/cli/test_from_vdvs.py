"""The page for administrators of vDVS: each command that it names exists with each flag, and no verb of vDVS is missing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from tests.commands import commands
from vmdkvol.cli.main import cli

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "from-vdvs.md").read_text(encoding="utf-8")
NAMED = sorted({found for row in PAGE.splitlines() for found in re.findall(r"`(vmdkvol [^`]+)`", row)})
# vdvs-facts 8.
VERBS = {
    *(f"volume {verb}" for verb in ("ls", "shortls", "set")),
    *(f"vmgroup {verb}" for verb in ("create", "update", "rm", "ls")),
    *(f"vmgroup vm {verb}" for verb in ("add", "rm", "replace", "ls")),
    *(f"vmgroup access {verb}" for verb in ("add", "set", "rm", "ls")),
    *(f"policy {verb}" for verb in ("create", "update", "rm", "ls")),
    *(f"config {verb}" for verb in ("init", "rm", "mv", "status")),
    "status",
}


def resolved(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that the words begin with, and the rest."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        inner = command.get_command(click.Context(command), words[0])
        assert inner is not None, words
        command, words = inner, words[1:]
    return command, words


@pytest.mark.parametrize("named", NAMED)
def test_each_command_that_is_named_exists_with_its_flags(named: str) -> None:
    command, rest = resolved(named.split()[1:])
    flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}

    assert not isinstance(command, click.Group), named
    assert {word for word in rest if word.startswith("-")} <= flags


@pytest.mark.parametrize("named", NAMED)
def test_each_command_that_is_named_is_read_as_it_stands(named: str) -> None:
    command, rest = resolved(shlex.split(named)[1:])

    # Raises what a user would see as a mistake in the command line.
    command.make_context(command.name, rest)


def test_every_verb_of_vdvs_has_its_row() -> None:
    old = [row.split("|")[1] for row in PAGE.splitlines() if row.startswith("| `")]
    missing = {verb for verb in VERBS if not any(f"`{verb}" in row for row in old)}

    assert missing == set()


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_every_command_has_a_help_of_its_own(name: str) -> None:
    command, _ = resolved(name.split()[1:])

    assert command.help
    assert all(option.help for option in command.params if isinstance(option, click.Option) and option.name != "output")
