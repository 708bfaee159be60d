"""`vmdkvol-esxd doctor` and `create-role` on the simulator, as commands: what they say, what they ask, what they change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner
from pyVmomi import vim

from tests.vsphere.outside import Outside, done, outside
from tests.vsphere.servers import listening, over_tls, silent
from tests.vsphere.simulators import Certificates, Model, Simulator
from vmdkvol.clock import SystemClock
from vmdkvol.command import run
from vmdkvol.findings import exit_code
from vmdkvol.settings import dump_toml, read_settings
from vmdkvol.volume import VmId
from vmdkvol_esx import doctor
from vmdkvol_esx.cli import cli
from vmdkvol_esx.identities import Identity, Ticket
from vmdkvol_esx.reaching import Unheard
from vmdkvol_esx.settings import ServiceSettings
from vmdkvol_esx.store import open_store
from vmdkvol_esx.vsphere.role import roles

pytestmark = [pytest.mark.integration]
pure, injected = pytest.mark.vcsim_pure, pytest.mark.vcsim_injected

NOBODY = "11111111-2222-4333-8444-555555555555"
CHANGES = ("_Task", "Set", "Create", "Add", "Update", "Remove", "Make", "Delete", "Move")


@dataclass
class Site:
    """A settings' file for a simulator, and its commands."""

    simulator: Simulator
    folder: Path
    capsys: pytest.CaptureFixture[str]
    hosts: list[dict[str, str]] = field(default_factory=list)
    vsphere: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.vsphere |= {
            "host": "localhost",
            "port": self.simulator.port,
            "user": self.simulator.account,
            "datastores": ["LocalDS_0"],
            "password_file": self.file("password", self.simulator.password),
            "ca_file": self.file("ca.pem", self.simulator.ca),
        }

    def file(self, name: str, content: str) -> str:
        path = self.folder / name
        path.touch(0o600)
        path.write_text(content)
        return str(path)

    def host(self, name: str, uuid: str) -> None:
        self.hosts.append({"name": name, "id": uuid, "socket": f"/run/vmdkvol/{name}.sock"})

    def config(self) -> Path:
        values = {
            "state_dir": str(self.folder / "state"),
            "default_datastore": self.vsphere["datastores"][0],
            "hosts": self.hosts,
            "vsphere": self.vsphere,
        }
        return Path(self.file("service.toml", dump_toml(values)))

    def command(self, *words: str) -> tuple[int, str]:
        code = run(cli, "vmdkvol-esxd", ["--config", str(self.config()), *words])
        said = self.capsys.readouterr()
        return code, said.out + said.err

    def doctor(self) -> dict[str, dict[str, str]]:
        """Return the report's lines by what they are about."""
        _, text = self.command("doctor", "-o", "json")
        lines = json.loads(text)
        found = {line["check"]: line for line in lines}
        assert len(found) == len(lines)
        return found

    def status(self) -> dict[str, str]:
        return {check: line["status"] for check, line in self.doctor().items()}


@pytest.fixture(params=["vcenter", "esxi"])
def site(
    request: pytest.FixtureRequest, own: Callable[[Model], Simulator], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Site:
    return Site(own(request.param), tmp_path / "site", capsys)


@pytest.fixture
def client(site: Site) -> Iterator[Outside]:
    with outside(site.simulator) as found:
        yield found


def on(model: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("site", [model], indirect=True)


def enable_uuid(vm: Any, value: str = "TRUE") -> None:
    option = vim.option.OptionValue(key="disk.EnableUUID", value=value)
    done(vm.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[option])))


def instance_uuid(vm: Any) -> str:
    return str(vm.config.instanceUuid)


# --- doctor ------------------------------------------------------------------------------------------------------


@pure
def test_of_a_site_that_is_right_nothing_fails(site: Site, client: Outside) -> None:
    vm = client.machines()[0]
    enable_uuid(vm)
    site.host("docker1", instance_uuid(vm))

    status = site.status()

    # The simulator's certificate is valid for a day, and its account is an administrator's.
    assert {check for check, each in status.items() if each != "OK"} == {"certificate", "account"}
    assert {"endpoint", "pin", "login", "server", "clock", "datastore LocalDS_0", "policies", "host docker1"} <= status.keys()
    assert {f"privileges on {what}" for what in ("the root folder", "datastore LocalDS_0", "host docker1")} <= status.keys()


@pure
def test_the_doctor_changes_nothing_and_leaves_no_session(site: Site, client: Outside) -> None:
    site.host("docker1", instance_uuid(client.machines()[0]))
    before = site.simulator.calls()

    site.doctor()

    asked = {name: count - before.get(name, 0) for name, count in site.simulator.calls().items() if count != before.get(name)}
    assert (asked["Login"], asked["Logout"]) == (1, 1)
    assert [name for name in asked if any(name.startswith(word) or name.endswith(word) for word in CHANGES)] == []
    assert not (site.folder / "state").exists()


@pure
def test_the_server_is_told_as_what_it_is(site: Site) -> None:
    expected = "vCenter" if site.simulator.model == "vcenter" else "a single ESXi host"
    assert expected in site.doctor()["server"]["finding"]


@pure
def test_no_password_is_in_the_report(site: Site) -> None:
    for words in (("doctor",), ("doctor", "-o", "json")):
        _, text = site.command(*words)
        assert site.simulator.password not in text


@pure
def test_a_wrong_password_is_tried_once_and_not_told(site: Site) -> None:
    site.vsphere["password_file"] = site.file("wrong", "hunter2-canary")
    before = site.simulator.calls().get("Login", 0)

    code, text = site.command("doctor", "-o", "json")

    lines = {line["check"]: line for line in json.loads(text)}
    assert (code, lines["login"]["status"], site.simulator.calls()["Login"]) == (2, "FAIL", before + 1)
    assert "not looked at" in lines["vSphere"]["finding"]
    assert "hunter2-canary" not in text


@pure
def test_the_database_is_looked_at_even_if_there_is_no_login(site: Site) -> None:
    site.vsphere["password_file"] = site.file("wrong", "hunter2-canary")
    assert site.status()["database"] == "OK"


@pure
def test_the_pinned_certificate_is_the_one(site: Site) -> None:
    del site.vsphere["ca_file"]
    site.vsphere["pin_file"] = site.file("pin.pem", site.simulator.pair.cert)

    assert "the pinned one" in site.doctor()["pin"]["finding"]


@pure
@on("vcenter")
def test_a_wrong_pin_fails_and_shows_what_is_presented(site: Site, made: Certificates) -> None:
    right = site.doctor()["certificate"]["finding"].split("SHA-256 ")[1]
    site.vsphere["pin_file"] = site.file("pin.pem", made.good.cert)
    before = site.simulator.calls()

    found = site.doctor()

    assert (found["certificate"]["status"], right in found["certificate"]["finding"]) == ("FAIL", True)
    assert site.simulator.calls() == before


@pure
@on("vcenter")
def test_a_foreign_authority_fails(site: Site, made: Certificates) -> None:
    site.vsphere["ca_file"] = site.file("ca.pem", made.ca)

    assert site.status()["certificate"] == "FAIL"


@pure
@on("vcenter")
def test_a_port_where_nobody_listens_fails_with_a_way_out(site: Site) -> None:
    site.simulator.end()

    line = site.doctor()["endpoint"]

    assert line["status"] == "FAIL"
    assert "firewall" in line["fix"]


@injected
@on("vcenter")
def test_a_server_that_never_answers_is_left_after_its_time(site: Site) -> None:
    with listening(silent) as server:
        site.vsphere["port"] = server.port
        settings = read_settings(ServiceSettings, site.config())
        findings = list(doctor.Doctor(settings, SystemClock(), Unheard(), {}, greet_s=0.5).examine())

    assert next(each.status for each in findings if each.check == "certificate") == "FAIL"


@injected
@on("vcenter")
def test_an_expired_certificate_fails(site: Site, made: Certificates) -> None:
    site.vsphere["ca_file"] = site.file("ca.pem", made.ca)
    with listening(over_tls(made.expired, silent)) as server:
        site.vsphere["port"] = server.port
        line = site.doctor()["certificate"]

    assert (line["status"], "expired" in line["finding"]) == ("FAIL", True)


class TwoHoursAhead(SystemClock):
    def wall(self) -> float:
        return super().wall() + 7200.0


@pure
@on("vcenter")
def test_clocks_that_differ_are_told_with_their_direction(site: Site) -> None:
    settings = read_settings(ServiceSettings, site.config())

    findings = list(doctor.Doctor(settings, TwoHoursAhead(), Unheard(), {}).examine())

    line = next(each for each in findings if each.check == "clock")
    assert (line.status, "behind ours" in line.finding) == ("FAIL", True)


@injected
@on("vcenter")
def test_when_its_time_is_over_the_doctor_says_what_it_has_not_seen(site: Site) -> None:
    for number in range(5):
        site.host(f"docker{number}", str(UUID(int=number + 1)))
    site.simulator.next("FindByUuid", "wait", ms=2000, times=99)
    settings = read_settings(ServiceSettings, site.config())

    findings = list(doctor.Doctor(settings, SystemClock(), Unheard(), {}, all_s=3.0).examine())

    lines = {each.check: each for each in findings}
    assert (lines["hosts"].status, lines["database"].finding) == ("FAIL", "not looked at: 3 s were over")
    assert site.simulator.calls()["FindByUuid"] < 5


@pure
@on("vcenter")
def test_a_password_file_that_is_missing_is_told_before_anything_is_asked(site: Site) -> None:
    site.vsphere["password_file"] = "/nowhere/password"
    before = site.simulator.calls()

    found = site.doctor()

    assert (found["settings"]["status"], "not looked at" in found["vSphere"]["finding"]) == ("FAIL", True)
    assert site.simulator.calls() == before


@pure
@on("vcenter")
def test_outside_of_its_unit_the_doctor_says_how_it_gets_the_credential(site: Site) -> None:
    del site.vsphere["password_file"]
    site.vsphere["credential"] = "vmdkvol-password"

    assert "systemd-run --pipe --wait -p LoadCredential=NAME:FILE" in site.doctor()["settings"]["fix"]


@pure
def test_a_datastore_that_is_not_there_fails_and_the_others_are_looked_at(site: Site) -> None:
    site.vsphere["datastores"] = ["no such one", "LocalDS_1"]

    found = site.doctor()

    assert (found["datastore no such one"]["status"], found["datastore LocalDS_1"]["status"]) == ("FAIL", "OK")
    assert "not looked at" in found["privileges on datastore no such one"]["finding"]


@injected
@pytest.mark.parametrize("name", ["ds [1] 50% ü", "a.b_c-d", "%2f", "] x", "'"], ids=str)
def test_a_datastore_may_have_any_name(site: Site, client: Outside, docker: Any, name: str) -> None:
    site.simulator.datastore("LocalDS_0", "rename", to=name)
    site.vsphere["datastores"] = [name]

    code, _ = create_role(site)
    found = site.doctor()

    assert (code, found[f"datastore {name}"]["status"], found[f"privileges on datastore {name}"]["status"]) == (0, "OK", "OK")


@injected
@pytest.mark.parametrize("do", ["inaccessible", "readonly"])
def test_a_datastore_that_cannot_be_used_fails(site: Site, do: str) -> None:
    site.simulator.datastore("LocalDS_0", do)

    assert site.status()["datastore LocalDS_0"] == "FAIL"


@pure
def test_a_host_that_nobody_has_fails(site: Site) -> None:
    site.host("docker1", NOBODY)

    assert "vc.uuid" in site.doctor()["host docker1"]["fix"]


@pure
def test_a_bios_uuid_is_told_with_the_right_one(site: Site, client: Outside) -> None:
    vm = client.machines()[0]
    site.host("docker1", str(vm.config.uuid))

    line = site.doctor()["host docker1"]

    assert line["status"] == "FAIL"
    assert f'id = "{instance_uuid(vm)}"' in line["fix"]


@pure
def test_a_bios_uuid_as_a_guest_is_shown_it_is_told_with_the_right_one(site: Site, client: Outside) -> None:
    vm = client.machines()[0]
    site.host("docker1", str(UUID(bytes_le=UUID(str(vm.config.uuid)).bytes)))

    assert f'id = "{instance_uuid(vm)}"' in site.doctor()["host docker1"]["fix"]


@pure
def test_what_destroying_a_host_does_is_said_each_time(site: Site) -> None:
    site.host("docker1", NOBODY)
    assert "deletes the disks" in site.doctor()["destroying a host"]["finding"]


@pure
@pytest.mark.parametrize("values", [(), ("FALSE",), ("TRUE", "FALSE")], ids=str)
def test_a_host_that_hides_its_disks_identities_fails(site: Site, client: Outside, values: tuple[str, ...]) -> None:
    """The simulator keeps a key several times; the last one holds."""
    vm = client.machines()[0]
    for value in values:
        enable_uuid(vm, value)
    site.host("docker1", instance_uuid(vm))

    line = site.doctor()["host docker1"]

    assert (line["status"], "disk.EnableUUID" in line["fix"]) == ("FAIL", True)


@injected
def test_a_host_that_is_not_connected_fails(site: Site, client: Outside) -> None:
    vm = client.machines()[0]
    enable_uuid(vm)
    site.host("docker1", instance_uuid(vm))
    site.simulator.machine(vm._moId, "disconnected")

    assert "not connected" in site.doctor()["host docker1"]["finding"]


@injected
@pytest.mark.parametrize("fault", ["NotSupported", "NoPermission", "InvalidArgument"])
def test_what_cannot_be_asked_is_never_said_to_be_right(site: Site, fault: str) -> None:
    site.simulator.next("HasPrivilegeOnEntities", "soap", fault=fault, times=99)

    found = site.doctor()

    for check in ("privileges on the root folder", "privileges on datastore LocalDS_0", "account"):
        assert (found[check]["status"], "cannot be asked" in found[check]["finding"]) == ("WARN", True)


@pure
@on("esxi")
def test_a_single_host_needs_no_policies(site: Site) -> None:
    found = site.doctor()

    assert found["policies"]["status"] == "OK"
    assert "all 3 of the role" in found["privileges on the root folder"]["finding"]


@pure
def test_the_exit_code_is_that_of_the_worst_line(site: Site) -> None:
    code, text = site.command("doctor", "-o", "json")

    worst = {line["status"] for line in json.loads(text)}
    assert code == {"OK": 0, "WARN": 1, "FAIL": 2}["FAIL" if "FAIL" in worst else "WARN" if "WARN" in worst else "OK"]


@pure
@on("vcenter")
def test_what_is_being_asked_is_told_to_who_waits(site: Site) -> None:
    said: list[str] = []
    settings = read_settings(ServiceSettings, site.config())

    findings = list(doctor.Doctor(settings, SystemClock(), Unheard(), {}, said.append).examine())

    assert exit_code(findings)
    assert ["connecting to localhost" in said[0], "logging in as" in said[1], said[-1]] == [True, True, "database"]


# --- create-role ---------------------------------------------------------------------------------------------------


def create_role(site: Site, *words: str) -> tuple[int, str]:
    password = site.file("admin", site.simulator.password)
    return site.command("create-role", "--user", site.simulator.account, "--password-file", password, *words)


@pytest.fixture
def docker(site: Site, client: Outside) -> Any:
    """A machine that is a Docker host of the settings."""
    vm = client.machines()[0]
    enable_uuid(vm)
    site.host("docker1", instance_uuid(vm))
    return vm


def made_roles(client: Outside) -> dict[str, set[str]]:
    found = client.service.content.authorizationManager.roleList
    return {role.name: set(role.privilege) for role in found if role.name.startswith("vmdkvol")}


@pure
def test_the_roles_have_the_privileges_of_the_table_and_the_server_knows_each(site: Site, client: Outside, docker: Any) -> None:
    code, text = create_role(site)

    wanted = {role.name: set(role.privileges) for role in roles(vcenter=site.simulator.model == "vcenter")}
    assert (code, made_roles(client)) == (0, {name: held for name, held in wanted.items() if name in made_roles(client)})
    assert made_roles(client).keys() == {"vmdkvol-root", "vmdkvol-datastore", "vmdkvol-machine"}
    assert "vmdkvol-machine on machine docker1" in text


@pure
def test_the_account_gets_each_role_where_it_is_needed(site: Site, client: Outside, docker: Any) -> None:
    create_role(site, "--principal", "somebody")

    manager = client.service.content.authorizationManager
    names = {role.roleId: role.name for role in manager.roleList}
    root, datastore = client.service.content.rootFolder, client.datastore("LocalDS_0")
    held = {
        (entity._moId, names[each.roleId], each.propagate)
        for entity in (root, datastore, docker, client.datastore("LocalDS_1"), client.machines()[1])
        for each in manager.RetrieveEntityPermissions(entity=entity, inherited=False)
        if each.principal == "somebody"
    }
    assert held == {
        (root._moId, "vmdkvol-root", True),
        (datastore._moId, "vmdkvol-datastore", False),
        (docker._moId, "vmdkvol-machine", False),
    }


@pure
def test_making_the_roles_again_changes_nothing(site: Site, client: Outside, docker: Any) -> None:
    create_role(site)
    before = made_roles(client)

    code, text = create_role(site)

    assert (code, made_roles(client), text.count("is right")) == (0, before, 3)


@pure
def test_a_role_that_was_changed_by_hand_is_put_right(site: Site, client: Outside, docker: Any) -> None:
    create_role(site)
    right = made_roles(client)
    manager = client.service.content.authorizationManager
    role = next(each for each in manager.roleList if each.name == "vmdkvol-machine")
    manager.UpdateRole(role.roleId, role.name, ["Host.Config.Storage"])

    _, text = create_role(site)

    assert (made_roles(client), "vmdkvol-machine: changed" in text) == (right, True)


@pure
def test_a_dry_run_says_what_it_would_do_and_does_nothing(site: Site, client: Outside, docker: Any) -> None:
    code, text = create_role(site, "--dry-run")

    assert (code, made_roles(client)) == (0, {})
    assert "would be given" in text


@pure
def test_nothing_is_changed_for_a_host_that_is_not_there(site: Site, client: Outside) -> None:
    site.host("docker1", NOBODY)

    code, text = create_role(site)

    assert (code, made_roles(client)) == (4, {})
    assert "docker1" in text


@pure
@on("vcenter")
def test_the_administrators_password_is_asked_for(site: Site, client: Outside, docker: Any) -> None:
    words = ["--config", str(site.config()), "create-role", "--user", site.simulator.account]

    done = CliRunner().invoke(cli, words, input=f"{site.simulator.password}\n")

    assert (done.exit_code, set(made_roles(client))) == (0, {"vmdkvol-root", "vmdkvol-datastore", "vmdkvol-machine"})
    assert site.simulator.password not in done.output


@pure
def test_the_administrators_password_is_not_told(site: Site, docker: Any) -> None:
    _, text = create_role(site)
    assert site.simulator.password not in text


@injected
def test_an_account_that_the_server_does_not_know_is_told_with_the_way_to_spell_it(site: Site, docker: Any) -> None:
    site.simulator.next("SetEntityPermissions", "soap", fault="UserNotFound")

    code, text = create_role(site, "--principal", "nobody")

    assert code == 2
    assert "--principal" in text


@injected
def test_with_the_roles_the_doctor_finds_all_that_is_needed_and_no_more(site: Site, docker: Any) -> None:
    create_role(site)

    status = site.status()

    assert {check for check, each in status.items() if each != "OK"} == {"certificate"}


@injected
@pytest.mark.parametrize(
    ("role", "check", "privilege", "status"),
    [
        ("vmdkvol-datastore", "privileges on datastore LocalDS_0", "Datastore.FileManagement", "FAIL"),
        ("vmdkvol-machine", "privileges on host docker1", "VirtualMachine.Config.RemoveDisk", "FAIL"),
        ("vmdkvol-machine", "privileges on host docker1", "VirtualMachine.Config.Resource", "WARN"),
    ],
)
def test_a_privilege_that_is_missing_is_named(
    site: Site, client: Outside, docker: Any, role: str, check: str, privilege: str, status: str
) -> None:
    create_role(site)
    manager = client.service.content.authorizationManager
    found = next(each for each in manager.roleList if each.name == role)
    manager.UpdateRole(found.roleId, role, [each for each in found.privilege if each != privilege])

    line = site.doctor()[check]

    assert (line["status"], privilege in line["finding"], "create-role" in line["fix"]) == (status, True, True)


# --- machines that are enrolled ------------------------------------------------------------------------------------


def enrol(site: Site, name: str, uuid: str) -> None:
    """Put a machine on record, as an enrolment does."""
    vm = VmId(UUID(uuid))
    (site.folder / "state").mkdir(exist_ok=True)
    store = open_store(site.folder / "state" / "vmdkvol.db", SystemClock())
    store.invite(Ticket(name, vm, name, 2e9))
    store.enrol(Identity(name, vm, name, 1.0, 2e9, "request", "pem"), name)
    store.close()


@pure
def test_a_machine_that_is_enrolled_is_looked_at_and_gets_its_role(site: Site, client: Outside) -> None:
    vm = client.machines()[0]
    enable_uuid(vm)
    enrol(site, "docker9", instance_uuid(vm))
    lines = site.doctor()
    assert lines["host docker9"]["status"] == "OK"
    assert "hosts" not in lines
    assert "vmdkvol-machine on machine docker9" in create_role(site)[1]


@pure
def test_an_enrolled_machine_that_is_gone_keeps_no_role_from_being_made(site: Site) -> None:
    enrol(site, "gone", NOBODY)
    assert site.status()["host gone"] == "FAIL"
    code, text = create_role(site)
    assert (code, "gone" in text) == (0, False)
