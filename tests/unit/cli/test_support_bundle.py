"""A support bundle has what helps and no secret, says what is in it before it is written, and replaces nothing."""

from __future__ import annotations

import json
import stat
import tarfile
from pathlib import Path

import pytest

from tests.doubles.small_api import Asked, Says, problem
from tests.unit.cli.asked import Terminal
from tests.unit.cli.asked import terminal as terminal
from vmdkvol.cli.processes import output_of
from vmdkvol.cli.redacting import LEFT_OUT, redacted

CANARY = "hunter2-canary"


@pytest.mark.parametrize(
    ("text", "without"),
    [
        pytest.param(f'password = "{CANARY}"', f'password = "{LEFT_OUT}"', id="toml"),
        pytest.param(f"admin_password='{CANARY}'", f"admin_password='{LEFT_OUT}'", id="toml-literal"),
        pytest.param(f'password = """\na"{CANARY}\n"""\nx', None, id="toml-of-several-lines"),
        pytest.param(f"password = '''\na'{CANARY}\n'''\nx", None, id="toml-literal-of-several-lines"),
        pytest.param(f'{{"token": "{CANARY}", "a": 1}}', f'{{"token": "{LEFT_OUT}", "a": 1}}', id="json"),
        pytest.param(f'"secret": "a\\"{CANARY}"', f'"secret": "{LEFT_OUT}"', id="a-quote-in-it"),
        pytest.param(f'"{{\\"token\\": \\"abcdefgh {CANARY}\\"}}"', None, id="json-in-json"),
        pytest.param(f'{{\\\\"token\\\\": \\\\"a {CANARY}\\\\"}}', None, id="json-in-json-in-json"),
        pytest.param(f'\\"secret\\": \\"abc {CANARY}', None, id="json-in-json-that-is-cut-off"),
        pytest.param(f"token={CANARY} volume=db", f"token={LEFT_OUT} volume=db", id="log-line"),
        pytest.param(f"Authorization: Bearer {CANARY}", None, id="header"),
        pytest.param(f"sent bearer {CANARY}", f"sent bearer {LEFT_OUT}", id="bearer"),
        pytest.param(f"vmdkvol1.{CANARY}.{CANARY}", LEFT_OUT, id="enrolment-token"),
        pytest.param(f"for vmdkvol_{CANARY}abc", f"for {LEFT_OUT}", id="api-token"),
        pytest.param(f"https://root:{CANARY}@esx/", f"https://{LEFT_OUT}@esx/", id="url"),
        pytest.param(f"-----BEGIN EC PRIVATE KEY-----\n{CANARY}\n-----END EC PRIVATE KEY-----\nx", f"{LEFT_OUT}\nx", id="key"),
        pytest.param(f"-----BEGIN PRIVATE KEY-----\n{CANARY}", LEFT_OUT, id="half-a-key"),
        pytest.param('token_file = "/etc/token"', 'token_file = "/etc/token"', id="a-path-stays"),
        pytest.param('password = ""', 'password = ""', id="that-none-is-set-stays"),
        pytest.param("datastore=ds1 volume=token", "datastore=ds1 volume=token", id="a-volume-called-token-stays"),
    ],
)
def test_secrets_are_taken_out_and_nothing_else(text: str, without: str | None) -> None:
    assert CANARY not in redacted(text)
    assert without is None or redacted(text) == without


def test_a_megabyte_of_what_begins_like_a_secret_is_read_in_a_moment() -> None:
    for text in (
        "token" * 200_000,
        "password=" + "a" * (1 << 20),
        'token\\": \\"' * 100_000,
        'token=\\"' + "\\" * 1_000_000,
        "://" + "a:" * 300_000,
        "-----BEGIN PRIVATE KEY-----" * 20_000,
    ):
        redacted(text)


def answer(asked: Asked) -> Says:
    if "/volumes" in asked.target:
        return problem("hypervisor-unreachable", f"no vCenter; password={CANARY}", 503)
    if "/status" in asked.target:
        return Says({"version": "0.1.0", "token": CANARY})
    key = asked.target.split("/")[2].partition("?")[0]
    return Says({"entries" if key == "audit" else key: [{"name": "web\x1b"}] * 3, "next": None})


def sandbox(tmp_path: Path) -> Path:
    for folder, name, text in (
        ("etc", "service.toml", f'password = "{CANARY}"\n'),
        ("logs", "service.log", f"token={CANARY}\nx\n"),
    ):
        (tmp_path / "sb" / folder).mkdir(parents=True)
        (tmp_path / "sb" / folder / name).write_text(text)
    return tmp_path / "sb"


@pytest.mark.integration
def test_it_holds_what_helps_without_secrets_for_its_owner_alone(terminal: Terminal, tmp_path: Path) -> None:
    target = tmp_path / "bundle.tar.gz"
    said = terminal.answers(answer).run("support-bundle", "--file", str(target), "--dir", str(sandbox(tmp_path)))

    assert (said.code, said.out) == (0, f"{target}\n")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with tarfile.open(target) as bundle:
        parts = {entry.name.split("/", 1)[1]: bundle.extractfile(entry).read().decode() for entry in bundle}  # type: ignore[union-attr]
    assert {"about.json", "status.json", "vms.json", "audit.json", "files/service.toml", "files/service.log"} <= parts.keys()
    assert CANARY not in "".join(parts.values())
    assert "no vCenter" in json.loads(parts["volumes.json"])["error"]
    assert len(json.loads(parts["vms.json"])) == 3
    assert all(name in said.err for name in parts)


@pytest.mark.integration
def test_a_dry_run_lists_and_writes_nothing(terminal: Terminal, tmp_path: Path) -> None:
    target = tmp_path / "bundle.tar.gz"
    said = terminal.answers(answer).run("support-bundle", "--file", str(target), "--dir", str(sandbox(tmp_path)), "--dry-run")

    assert (said.code, said.out, target.exists()) == (0, "", False)
    assert "files/service.log (" in said.err


@pytest.mark.integration
@pytest.mark.parametrize("link", [False, True], ids=["file", "link"])
def test_what_is_there_is_not_replaced(terminal: Terminal, tmp_path: Path, link: bool) -> None:
    target = tmp_path / "bundle.tar.gz"
    if link:
        target.symlink_to(tmp_path / "elsewhere")
    else:
        target.write_text("mine")
    said = terminal.answers(answer).run("support-bundle", "--file", str(target), "--dir", str(tmp_path))

    assert said.code == 1
    assert "[os-error]" in said.err
    assert not (tmp_path / "elsewhere").exists()
    assert link or target.read_text() == "mine"


@pytest.mark.integration
def test_without_a_service_it_says_so_in_its_place(terminal: Terminal, tmp_path: Path) -> None:
    said = terminal.answers(problem("service-unreachable", "away", 503)).run("support-bundle", "--file", str(tmp_path / "b"))

    assert said.code == 0


@pytest.mark.integration
def test_what_is_wrong_with_this_machine_and_the_units_lines_are_in_it_without_secrets(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "bin" / "journalctl"
    journal.parent.mkdir()
    journal.write_text(f'#!/bin/sh\necho "$@"\necho "password={CANARY} volume=db"\n')
    journal.chmod(0o755)
    monkeypatch.setenv("PATH", f"{journal.parent}:/usr/bin:/bin")
    target = tmp_path / "b"
    terminal.answers(answer).run("support-bundle", "--file", str(target), "--dir", str(sandbox(tmp_path)))

    with tarfile.open(target) as bundle:
        parts = {entry.name.split("/", 1)[1]: bundle.extractfile(entry).read().decode() for entry in bundle}  # type: ignore[union-attr]
    assert "--unit=vmdkvol-esxd" in parts["journal.log"]
    assert f"password={LEFT_OUT} volume=db" in parts["journal.log"]
    assert "root" in {finding["check"] for finding in json.loads(parts["doctor.json"])}
    assert "health.json" in parts


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo told; exit 2", "told\n"),
        ("echo wrong >&2; exit 1", "wrong\n"),
        ("printf '\\377'", "\\xff"),
        ("sleep 30", "it has not ended within 0.5 s\n"),
    ],
)
@pytest.mark.integration
def test_what_a_command_prints_is_taken_whatever_it_says_in_the_end(script: str, told: str) -> None:
    assert output_of(("/bin/sh", "-c", script), 0.5, 100) == told


@pytest.mark.integration
def test_of_an_endless_output_the_end_is_taken() -> None:
    assert output_of(("/bin/sh", "-c", "yes x | head -c 5000000; echo end"), 30.0, 8) == "x\nx\nend\n"


@pytest.mark.integration
def test_a_program_that_cannot_be_run_is_told() -> None:
    assert output_of(("/nowhere/journalctl",), 1.0, 100) == "cannot be run: No such file or directory\n"
