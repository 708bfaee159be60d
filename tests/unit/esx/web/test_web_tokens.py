"""`vmdkvol-esxd web-token` as an administrator types it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from vmdkvol.command import run
from vmdkvol_esx.cli import cli
from vmdkvol_esx.token_notes import alone
from vmdkvol_esx.web.token_file import read


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "service.toml"
    path.write_text(f'state_dir = "{tmp_path}"\n[[datastores]]\nname = "d"\npath = "/d"\n')
    path.chmod(0o600)
    return path


def typed(config: Path, *words: str) -> int:
    return run(cli, "vmdkvol-esxd", ["--config", str(config), "web-token", *words])


def test_a_token_is_printed_alone_so_that_it_can_be_put_into_a_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(config, "new", "ann", "--role", "viewer") == 0
    said = capsys.readouterr()
    assert said.out.startswith("vmdkvol_")
    assert said.out.count("\n") == 1
    assert "as viewer, until" in said.err
    assert said.out.strip() not in (config.parent / "tokens.json").read_text()


def test_the_list_has_names_roles_and_ends_and_no_token(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed(config, "new", "bob", "--role", "admin", "--days", "1")
    typed(config, "new", "ann", "--role", "viewer")
    token = capsys.readouterr().out.split()[0]
    assert typed(config, "ls") == 0
    listed = capsys.readouterr().out
    assert [line.split("\t")[:2] for line in listed.splitlines()] == [["ann", "viewer"], ["bob", "admin"]]
    assert token not in listed


def test_a_revoked_token_is_gone_and_a_second_time_it_is_told_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed(config, "new", "ann", "--role", "viewer")
    assert typed(config, "revoke", "ann") == 0
    assert read(config.parent / "tokens.json") == ()
    assert typed(config, "revoke", "ann") == 4
    assert "web-token ls" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("new", "ann"),
        ("new", "ann", "--role", "god"),
        ("new", "root", "--role", "viewer"),
        ("new", "ann", "--role", "admin", "--days", "0"),
    ],
)
def test_what_cannot_be_a_token_is_refused(config: Path, words: tuple[str, ...]) -> None:
    assert typed(config, *words) == 2
    assert not (config.parent / "tokens.json").exists()


def test_two_at_once_lose_none(config: Path) -> None:
    with alone(config.parent / "tokens.json"):
        other = threading.Thread(target=typed, args=(config, "new", "ann", "--role", "viewer"))
        other.start()
        assert read(config.parent / "tokens.json") == ()
    other.join(30.0)
    assert [each.name for each in read(config.parent / "tokens.json")] == ["ann"]
