"""`vmdkvol vm` and `vmdkvol-agent enroll` as people and scripts meet them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from tests.daemons.web_process import WebProcess
from tests.integration.identity_site import CLOCK, A, B, Folder, Site
from vmdkvol.cli.main import cli
from vmdkvol.command import run
from vmdkvol.settings import dump_toml
from vmdkvol.tokens import Token
from vmdkvol.volume import VmId
from vmdkvol_esx.identities import Ticket
from vmdkvol_guest.cli import cli as agent_cli

pytestmark = pytest.mark.integration


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


class Terminal:
    """Runs the command lines in this process."""

    def __init__(self, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
        self.site = site
        self._capsys = capsys
        config = site.root / "service.toml"
        config.write_text(service_toml(site))
        config.chmod(0o600)
        self._web = WebProcess(config)

    def vm(self, *command: str) -> Said:
        code = run(cli, "vmdkvol", ["vm", *command, "--api", self._web.address])
        return Said(code, *self._capsys.readouterr())

    def agent(self, service: str, *command: str) -> Said:
        config = self.site.root / "agent.toml"
        config.write_text(
            dump_toml({"service": service, "state_dir": str(self.site.root / "agent"), "run_dir": "/run/nowhere"})
        )
        config.chmod(0o600)
        code = run(agent_cli, "vmdkvol-agent", ["--config", str(config), *command])
        return Said(code, *self._capsys.readouterr())

    def close(self) -> None:
        self._web.stop()
        self.site.close()


def service_toml(site: Site) -> str:
    """Return the settings of the service that runs in this process, as the API's process reads them."""
    settings = site.settings
    stores = [{"name": store.name, "path": store.path} for store in settings.datastores]
    return dump_toml({"state_dir": settings.state_dir, "admin_socket": settings.admin_socket, "datastores": stores})


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    made = Terminal(Site(tmp_path), capsys)
    yield made
    made.close()


def test_the_token_alone_is_the_output_and_what_it_is_for_is_said_beside_it(terminal: Terminal) -> None:
    said = terminal.vm("enroll", "a")
    token = Token.parse(said.out)
    assert said.out == f"{token.text}\n"
    assert str(A) in said.err
    assert ":".join(f"{byte:02X}" for byte in token.pin) in said.err


def test_for_programs_it_is_json(terminal: Terminal) -> None:
    made = json.loads(terminal.vm("enroll", str(A), "-o", "json").out)
    assert made.keys() == {"token", "name", "id", "expires", "fingerprint", "guestinfo"}
    assert (made["name"], made["id"], made["guestinfo"]) == ("a", str(A), False)


def test_the_list_says_who_is_what(terminal: Terminal) -> None:
    terminal.site.enrol(Folder(terminal.site.root / "a"))
    terminal.vm("enroll", "b")
    table = terminal.vm("ls").out.splitlines()
    assert table[0].split() == ["NAME", "STANDING", "CONNECTED", "RUNNING", "EXPIRES", "ID"]
    assert [line.split()[:2] for line in table[1:]] == [["a", "enrolled"], ["b", "invited"]]
    rows = json.loads(terminal.vm("ls", "-o", "json").out)
    assert [row["id"] for row in rows] == [str(A), str(B)]
    assert rows[0].keys() == {"name", "id", "standing", "connected", "running", "expires", "token_until"}
    assert terminal.vm("ls", "-o", "name").out.split() == ["a", "b"]


def test_a_machines_name_draws_nothing_on_the_terminal(terminal: Terminal) -> None:
    """Whoever may rename a virtual machine is no administrator of the service."""
    store = terminal.site.service.store
    assert store is not None
    store.invite(Ticket("hash", VmId(UUID(int=99)), "evil\x1b[2J\nroot   enrolled", CLOCK.wall() + 60.0))
    for output in ("table", "wide", "name"):
        said = terminal.vm("ls", "-o", output).out
        assert "\x1b" not in said
        assert not [line for line in said.splitlines() if line.startswith("root")]
    (row,) = (each for each in json.loads(terminal.vm("ls", "-o", "json").out) if each["id"] == str(UUID(int=99)))
    assert row["name"] == "evil\x1b[2J\nroot   enrolled"


def test_what_is_not_meant_for_certain_is_not_revoked(terminal: Terminal) -> None:
    terminal.site.enrol(Folder(terminal.site.root / "a"))
    said = terminal.vm("revoke", "a")
    assert (said.code, "--yes" in said.err) == (2, True)
    assert "enrolled" in terminal.vm("ls").out
    assert terminal.vm("revoke", "a", "--yes").code == 0
    assert "revoked" in terminal.vm("ls").out


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        pytest.param(["enroll", "nobody"], 4, "vmdkvol vm ls", id="nobody-of-this-name"),
        pytest.param(["revoke", "b", "--yes"], 4, "vmdkvol vm ls", id="never-enrolled"),
        pytest.param(["enroll", "a", "--guestinfo"], 2, "guestinfo = true", id="not-allowed"),
    ],
)
def test_what_cannot_be_done_says_why(terminal: Terminal, command: list[str], code: int, words: str) -> None:
    said = terminal.vm(*command)
    assert (said.code, said.out) == (code, "")
    assert words in said.err


def test_without_an_api_it_says_where_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, "vmdkvol", ["vm", "ls", "--api", f"unix://{tmp_path}/nowhere.sock"]) == 6
    assert "systemctl status vmdkvol-web" in capsys.readouterr().err


def test_at_a_socket_of_its_own_there_is_nothing_to_enrol(terminal: Terminal) -> None:
    said = terminal.agent("unix:///run/vmdkvol/a.sock", "enroll", terminal.site.token())
    assert said.code == 2
    assert 'service = "tcp://HOST:1019"' in said.err


def test_a_text_that_is_no_token_is_not_repeated(terminal: Terminal) -> None:
    said = terminal.agent(str(terminal.site.address), "enroll", "vmdkvol1.hunter2")
    assert said.code == 2
    assert "hunter2" not in said.err


def test_where_nothing_answers_the_command_says_so(terminal: Terminal) -> None:
    said = terminal.agent("tcp://127.0.0.1:1", "enroll", terminal.site.token())
    assert said.code == 6
    assert "127.0.0.1:1" in said.err


def test_a_host_that_is_enrolled_is_told_who_it_is(terminal: Terminal) -> None:
    said = terminal.agent(str(terminal.site.address), "enroll", terminal.site.token())
    assert said.code == 0
    assert f"this host is a ({A})" in said.out
