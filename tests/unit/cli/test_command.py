"""Errors become one line and an exit code, in one place, for all three programs."""

from __future__ import annotations

import click
import pytest

from tests.commands import commands
from vmdkvol.cli.main import cli
from vmdkvol.command import run
from vmdkvol.errors import NameConflict, ServiceUnreachable, VolumeError


def failing(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


def test_alone_it_prints_the_three_commands_to_try(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, "vmdkvol", []) == 0

    said = capsys.readouterr().out
    for command in ("vmdkvol sandbox up", "docker volume create -d vsphere db -o size=1gb", "vmdkvol volume ls"):
        assert command in said


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(NameConflict("db exists"), 5, id="conflict"),
        pytest.param(ServiceUnreachable("no service"), 6, id="unavailable"),
        pytest.param(click.UsageError("No such option"), 2, id="usage"),
        pytest.param(click.exceptions.Abort(), 130, id="interrupted"),
        pytest.param(FileNotFoundError(2, "No such file", "/x"), 1, id="the-system"),
        pytest.param(RuntimeError("a bug"), 1, id="a-bug"),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert run(failing(error), "vmdkvol", []) == code


def test_an_error_is_one_line_with_remedy_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    run(failing(NameConflict("db\nexists")), "vmdkvol", [])

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "vmdkvol: db\\nexists; use another name, or leave out the options that differ [name-conflict]\n"


def test_a_bug_shows_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    run(failing(RuntimeError("what happened")), "vmdkvol", [])

    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("group", ["sandbox", "volume"])
def test_a_group_alone_prints_its_commands(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, "vmdkvol", [group]) == 0

    said = capsys.readouterr()
    assert "\nCommands:\n" in said.out
    assert said.err == ""


@pytest.mark.parametrize(
    "raised",
    [
        pytest.param(PermissionError(13, "Permission denied", "/run/x"), id="named"),
        pytest.param(OSError(28, "No space left on device"), id="without-a-file"),
    ],
)
def test_what_the_system_refuses_is_one_line_that_can_be_explained(raised: OSError, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(failing(raised), "vmdkvol", []) == 1

    said = capsys.readouterr().err
    assert said.startswith(f"vmdkvol: {raised.filename + ': ' if raised.filename else ''}{raised.strerror}")
    assert said.endswith(" [os-error]\n")
    assert "Errno" not in said


@pytest.mark.parametrize("code", ["usage", "os-error"])
def test_the_commands_own_codes_are_explained(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, "vmdkvol", ["explain", code]) == 0

    assert capsys.readouterr().out.startswith(f"{code}: ")


def test_an_unknown_command_says_where_help_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, "vmdkvol", ["frobnicate"]) == 2

    assert "`vmdkvol --help`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("volumes ls", "did you mean volume; see `vmdkvol --help`"),
        ("volume list", "did you mean ls; see `vmdkvol volume --help`"),
        ("volume delete db", "did you mean rm; see `vmdkvol volume --help`"),
        ("vmgroup vm remove", "did you mean rm; see `vmdkvol vmgroup vm --help`"),
        ("volume shortls", "it is `vmdkvol volume ls -c name,size,diskformat,attached_to` here"),
        ("config init --datastore ds1", "`vmdkvol status` says how the service is"),
    ],
)
def test_what_a_command_is_called_elsewhere_is_told(words: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, "vmdkvol", words.split()) == 2

    said = capsys.readouterr().err
    assert meant in said
    assert said.endswith(" [usage]\n")


def test_the_help_of_no_group_cuts_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    groups = {name.rpartition(" ")[0].removeprefix("vmdkvol").split(" ", 1)[-1] for name, _ in commands()} - {""}
    for group in groups:
        assert run(cli, "vmdkvol", [*group.split(), "--help"]) == 0
        told = capsys.readouterr().out.split("Commands:")[1]
        assert [line for line in told.splitlines() if line.endswith("...")] == [], group


def test_what_a_command_returns_is_the_exit_code() -> None:
    @click.command()
    def command() -> int:
        return 2

    assert run(command, "vmdkvol", []) == 2


@pytest.mark.parametrize("word", ["volume-in-use", "[volume-in-use]", "VOLUME-IN-USE"])
def test_a_code_is_explained_as_it_stands_in_a_message(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, "vmdkvol", ["explain", word]) == 0

    assert "What to do: stop the containers that use it there first" in capsys.readouterr().out


def test_an_unknown_code_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, "vmdkvol", ["explain", "volume-in-us"]) == 4

    assert "did you mean volume-in-use?" in capsys.readouterr().err


def test_every_code_has_an_explanation(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, "vmdkvol", ["explain"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert all(len(line.split()) > 4 for line in lines[1:])
    assert not issubclass(VolumeError, click.ClickException)
