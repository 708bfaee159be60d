"""The doctor on one machine, where directories are the datastores: it looks at them and at the database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vmdkvol.clock import SystemClock
from vmdkvol.command import run
from vmdkvol.settings import dump_toml
from vmdkvol_esx.cli import cli
from vmdkvol_esx.store import open_store


class Place:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.store = folder / "ds1"
        self.store.mkdir()
        self.config = folder / "service.toml"
        self.config.touch(0o600)
        self.config.write_text(
            dump_toml(
                {
                    "state_dir": str(folder / "state"),
                    "datastores": [{"name": "ds1", "path": str(self.store)}],
                    "hosts": [{"name": "a", "id": "11111111-2222-4333-8444-555555555555", "socket": "/run/a.sock"}],
                }
            )
        )

    def command(self, *words: str) -> tuple[int, str]:
        code = run(cli, "vmdkvol-esxd", ["--config", str(self.config), *words])
        return code, self.capsys.readouterr().out

    def status(self) -> dict[str, str]:
        return {line["check"]: line["status"] for line in json.loads(self.command("doctor", "-o", "json")[1])}


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path, capsys)


def test_a_machine_that_is_right_has_no_failure(place: Place) -> None:
    assert place.status().keys() == {"datastore ds1", "database"}
    assert "FAIL" not in place.status().values()


def test_a_directory_that_is_gone_fails(place: Place) -> None:
    place.store.rmdir()
    assert (place.status()["datastore ds1"], place.command("doctor")[0]) == ("FAIL", 2)


def test_a_damaged_database_fails_with_the_way_out(place: Place) -> None:
    state = place.folder / "state"
    state.mkdir()
    open_store(state / "vmdkvol.db", SystemClock()).close()
    (state / "vmdkvol.db").write_bytes(b"x" * 200)

    _, text = place.command("doctor")

    assert place.status()["database"] == "FAIL"
    assert "vmdkvol-esxd rebuild" in text


def test_the_table_has_a_line_for_each_thing(place: Place) -> None:
    _, text = place.command("doctor")
    assert [line.split("   ")[0].strip() for line in text.splitlines()[:1]] == ["STATUS"]
    assert len(text.splitlines()) == 3


def test_nothing_is_made(place: Place) -> None:
    place.command("doctor")
    assert not (place.folder / "state").exists()


def test_roles_without_an_endpoint_are_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    password = place.folder / "pw"
    password.touch(0o600)
    password.write_text("x")

    code = run(
        cli, "vmdkvol-esxd", ["--config", str(place.config), "create-role", "--user", "a", "--password-file", str(password)]
    )

    assert (code, "no vSphere endpoint" in capsys.readouterr().err) == (2, True)
