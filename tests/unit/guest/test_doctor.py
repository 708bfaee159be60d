"""The agent's doctor on a machine in a directory: each piece that is missing has its line, and one trouble hides no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.doubles.certificates import Authority
from tests.doubles.channel_ends import VM_1, Site
from tests.doubles.far_channel import identify
from tests.doubles.hand_clock import HandClock
from tests.doubles.scsi_sysfs import ScsiSysfs, Virtual, identification, mute
from tests.unit.shared.test_wire_values import INFO
from vmdkvol.channel import Address, TcpAddress, listen
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import NotEnrolled, ServiceUnreachable, VolumeError
from vmdkvol.findings import FAIL, OK, WARN, Finding, exit_code
from vmdkvol.messages import Attachments, Call, ListVolumes, Request, VolumePage, Welcome
from vmdkvol.settings import dump_toml
from vmdkvol.volume import DiskUuid, ScsiAddress, VmId
from vmdkvol_esx.server import Server
from vmdkvol_guest.cli import cli
from vmdkvol_guest.doctor import Doctor, Places
from vmdkvol_guest.linux.commands import Commands
from vmdkvol_guest.reaching import Reached, Reaching
from vmdkvol_guest.settings import AgentSettings

ROOT = Path(__file__).parents[3]
DAY = 86400.0
ENGINE = 4711
WELCOME = Welcome(3, VM_1, "docker1", "vmdkvol-esxd", 1.0)
EXTENSIONS = f"subjectAltName=URI:urn:uuid:{VM_1}\nextendedKeyUsage=clientAuth\n"
PLUGIN = '{"Capabilities": {"Scope": "global"}}'


class Machine:
    """A Docker host on which all is well until a test spoils it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sysfs = ScsiSysfs(folder / "sys")
        self.sysfs.controller(0)
        self.sysfs.attach(ScsiAddress(0, 0), Virtual((8, 0), 1 << 20, 1, identification(DiskUuid(VM_1))))
        self.proc = folder / "proc"
        self.process("self", "", "mnt:[1]", "20 1 0:20 / / rw shared:1 - ext4 /dev/sda1 rw\n")
        self.process(str(ENGINE), "/usr/bin/dockerd\0-H\0fd://\0", "mnt:[1]")
        (self.proc / "filesystems").write_text("nodev\tproc\n\text4\n\txfs\n")
        self.vsock = folder / "vsock"
        self.plugins = folder / "plugins"
        self.plugins.mkdir()
        self.without: set[str] = set()
        self.user = 0
        self.answer: Reached | VolumeError = Reached(WELCOME, 0.1, 0.2, frozenset({"db"}))
        self.settings: dict[str, Any] = {
            "service": "tcp://vmdkvol.example.com:1019",
            "socket": str(self.plugins / "vsphere.sock"),
            "run_dir": str(folder / "run"),
            "state_dir": str(folder / "state"),
        }

    def process(self, pid: str, arguments: str, namespace: str, mounts: str = "") -> None:
        (self.proc / pid / "ns").mkdir(parents=True, exist_ok=True)
        (self.proc / pid / "cmdline").write_text(arguments)
        (self.proc / pid / "mountinfo").write_text(mounts)
        link = self.proc / pid / "ns/mnt"
        link.unlink(missing_ok=True)
        link.symlink_to(namespace)

    def enrol(self, days: int = 90) -> Path:
        """Put a certificate and its authority where the agent has them."""
        folder = self.folder / "state/identity"
        folder.mkdir(parents=True)
        authority(folder, "ca", folder / "ca.pem")
        leaf(folder, days)
        return folder / "agent.pem"

    def findings(self, clock: Any = None) -> list[Finding]:
        places = Places(
            sysfs=self.sysfs.root,
            proc=self.proc,
            vsock=self.vsock,
            modules=self.folder / "modules",
            daemon_file=self.folder / "daemon.json",
            specs=[],
        )
        clock = clock or SystemClock()
        settings = AgentSettings(**self.settings)
        doctor = Doctor(settings, clock, Commands(clock), self.reach, self.find, lambda: self.user, places)
        return list(doctor.examine())

    def reach(self) -> Reached:
        if isinstance(self.answer, VolumeError):
            raise self.answer
        return self.answer

    def find(self, program: str) -> str | None:
        return None if program in self.without else f"/usr/bin/{program}"

    def of(self, check: str) -> Finding:
        (finding,) = [finding for finding in self.findings() if finding.check == check]
        return finding


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def authority(folder: Path, name: str, certificate: Path) -> None:
    key = str(folder / f"{name}.key")
    openssl("req", "-x509", *NEW_KEY, "-keyout", key, "-out", str(certificate), "-subj", f"/CN={name}", "-days", "3650")


def leaf(folder: Path, days: int, signer: str = "ca") -> None:
    """Make the agent's key and certificate, in one file with mode 0600."""
    request, key, made = (str(folder / name) for name in ("agent.csr", "agent.key", "agent.crt"))
    (folder / "extensions").write_text(EXTENSIONS)
    openssl("req", *NEW_KEY, "-keyout", key, "-out", request, "-subj", "/CN=agent")
    signed = ("-CA", str(folder / "ca.pem"), "-CAkey", str(folder / f"{signer}.key"), "-CAcreateserial")
    openssl("x509", "-req", "-in", request, *signed, "-days", str(days), "-extfile", str(folder / "extensions"), "-out", made)
    identity = folder / "agent.pem"
    identity.touch(0o600)
    identity.write_bytes(Path(key).read_bytes() + Path(made).read_bytes())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.integration
def test_on_a_machine_that_is_right_only_the_agent_is_missing(machine: Machine) -> None:
    machine.enrol()
    wrong = [(finding.check, finding.status) for finding in machine.findings() if finding.status != OK]
    assert wrong == [("agent", FAIL)]


def test_one_trouble_hides_no_other(machine: Machine) -> None:
    machine.user = 1000
    machine.without = {"mkfs.xfs", "openssl", "blkid"}
    machine.settings["socket"] = str(machine.plugins / "other.sock")
    machine.answer = ServiceUnreachable("away")
    wrong = {finding.check for finding in machine.findings() if finding.status != OK}
    assert wrong == {
        "root",
        "driver",
        "tools xfs",
        "tool openssl",
        "tool blkid",
        "agent",
        "certificate",
        "service",
        "clock",
    }


def test_what_cannot_be_looked_at_is_told_and_the_rest_goes_on(machine: Machine) -> None:
    (machine.proc / "filesystems").unlink()
    found = machine.findings()
    assert [finding.status for finding in found if finding.check == "tools"] == [FAIL]
    assert "service" in {finding.check for finding in found}


def test_the_page_has_a_line_for_each_of_them(machine: Machine) -> None:
    page = (ROOT / "docs/how-to/docker-host.md").read_text(encoding="utf-8")
    assert [finding.check for finding in machine.findings() if f"`{finding.check}`" not in page] == []


# --- tools and kernel ----------------------------------------------------------------------------------------------


def test_a_file_system_that_the_kernel_may_load_is_there(machine: Machine) -> None:
    (machine.proc / "filesystems").write_text("\text4\n")
    folder = machine.folder / "modules" / os.uname().release
    folder.mkdir(parents=True)
    (folder / "modules.dep").write_text("kernel/fs/xfs/xfs.ko.xz: kernel/lib/libcrc32c.ko.xz\n")
    assert machine.of("tools xfs").status == OK
    (folder / "modules.dep").write_text("kernel/fs/ext4/ext4.ko:\n")
    assert machine.of("tools xfs").status == WARN


def test_c16_a_machine_on_which_no_mounted_ext4_grows_is_told(machine: Machine) -> None:
    status = machine.proc / "thread-self" / "status"
    status.parent.mkdir()
    for capabilities, expected in (("000001fffeffffff", WARN), ("000001ffffffffff", OK)):
        status.write_text(f"Name:\tpython3\nCapEff:\t{capabilities}\n")
        assert machine.of("ext4 in use").status == expected


def test_a_kernel_without_the_driver_cannot_have_the_controller(machine: Machine) -> None:
    (machine.sysfs.root / "class/scsi_host/host2").unlink()
    assert machine.of("pvscsi").status == WARN
    folder = machine.folder / "modules" / os.uname().release
    folder.mkdir(parents=True)
    (folder / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    assert machine.of("pvscsi").status == FAIL


def test_disks_without_a_uuid_are_told(machine: Machine) -> None:
    disk = mute(machine.sysfs.attached[ScsiAddress(0, 0)])
    machine.sysfs.detach(ScsiAddress(0, 0))
    assert machine.of("disk.EnableUUID").status == WARN
    machine.sysfs.attach(ScsiAddress(0, 0), disk)
    assert machine.of("disk.EnableUUID").status == FAIL


def test_a_disk_of_another_kind_of_controller_says_nothing_of_the_parameter(machine: Machine) -> None:
    """A CD or a SATA disk has a serial number of its own."""
    machine.sysfs.detach(ScsiAddress(0, 0))
    machine.sysfs.controller(1, driver="ahci")
    machine.sysfs.attach(ScsiAddress(1, 0), Virtual((8, 0), 1 << 20, 1, identification(DiskUuid(VM_1))))
    assert machine.of("disk.EnableUUID").status == WARN


def test_a_disk_that_multipath_has_taken_is_told(machine: Machine) -> None:
    assert machine.of("multipath").status == OK
    (machine.sysfs.root / "block/sda/holders/dm-0/dm").mkdir(parents=True)
    (machine.sysfs.root / "block/sda/holders/dm-0/dm/name").write_text("mpatha\n")
    assert "sda by dm-0 (mpatha)" in machine.of("multipath").finding


def test_vsock_is_looked_at_if_the_service_is_there(machine: Machine) -> None:
    assert machine.of("vsock").status == OK
    machine.settings["service"] = "vsock://2:1019"
    assert (machine.of("vsock").status, "modprobe" in machine.of("vsock").fix) == (FAIL, True)
    # Something that is there and no vsock.
    machine.vsock.touch()
    assert machine.of("vsock").status == FAIL


# --- the engine ----------------------------------------------------------------------------------------------------


def test_an_engine_that_sees_no_mount_of_ours_is_told(machine: Machine) -> None:
    machine.process("self", "", "mnt:[1]", "20 1 0:20 / / rw - ext4 /dev/sda1 rw\n")
    machine.process(str(ENGINE), "/usr/bin/dockerd\0", "mnt:[2]")
    assert machine.of("mount root").status == FAIL
    machine.process("self", "", "mnt:[1]", "20 1 0:20 / / rw shared:1 - ext4 /dev/sda1 rw\n")
    assert machine.of("mount root").status == OK


@pytest.mark.parametrize(
    ("arguments", "file", "root"),
    [
        ("dockerd\0", "", "/var/lib/docker"),
        ("dockerd\0--data-root\0/data/a\0", '{"data-root": "/data/b"}', "/data/a"),
        ("dockerd\0--data-root=/data/a\0", "", "/data/a"),
        ("dockerd\0", '{"data-root": "/data/b"}', "/data/b"),
        ("dockerd\0", '{"data-root": 7}', "/var/lib/docker"),
        ("dockerd\0", "no json", "/var/lib/docker"),
        ("dockerd\0--data-root", "[]", "/var/lib/docker"),
    ],
)
def test_the_engine_s_data_is_where_it_was_told(machine: Machine, arguments: str, file: str, root: str) -> None:
    machine.process(str(ENGINE), arguments, "mnt:[1]")
    (machine.folder / "daemon.json").write_text(file)
    assert machine.of("engine's data").finding == f"in {root}"


def test_an_engine_whose_data_lies_on_a_volume_is_told(machine: Machine) -> None:
    machine.process(str(ENGINE), f"dockerd\0--data-root={machine.folder}/run/mnt/4208/data\0", "mnt:[1]")
    assert machine.of("engine's data").status == FAIL


def test_a_local_volume_that_hides_one_of_ours_is_told_wherever_the_engine_keeps_it(machine: Machine) -> None:
    root = machine.folder / "engine"
    (root / "volumes/db/_data").mkdir(parents=True)
    (root / "volumes/other/_data").mkdir(parents=True)
    machine.process(str(ENGINE), f"dockerd\0--data-root={root}\0", "mnt:[1]")
    assert "'db'" in machine.of("local volume").finding


# --- certificate and service -----------------------------------------------------------------------------------------


def test_a_machine_that_is_not_enrolled_hears_how(machine: Machine) -> None:
    machine.answer = NotEnrolled("this machine has no certificate", remedy="enrol it")
    assert "vmdkvol-agent enroll TOKEN" in machine.of("certificate").fix
    assert (machine.of("service").status, machine.of("service").fix) == (FAIL, "enrol it")
    assert machine.of("clock").status == WARN


@pytest.mark.integration
def test_a_certificate_says_whose_it_is_and_how_long(machine: Machine) -> None:
    machine.enrol()
    finding = machine.of("certificate")
    assert (finding.status, str(VM_1) in finding.finding) == (OK, True)


@pytest.mark.integration
def test_a_certificate_that_was_not_renewed_is_told(machine: Machine) -> None:
    machine.enrol(days=10)
    assert machine.of("certificate").status == WARN


@pytest.mark.integration
def test_a_certificate_that_ran_out_is_told(machine: Machine) -> None:
    machine.enrol()
    late = [f for f in machine.findings(HandClock(wall=SystemClock().wall() + 91 * DAY)) if f.check == "certificate"]
    assert [(finding.status, "ran out" in finding.finding) for finding in late] == [(FAIL, True)]


@pytest.mark.integration
def test_a_key_that_others_can_read_is_told(machine: Machine) -> None:
    machine.enrol().chmod(0o644)
    assert "0644" in machine.of("certificate").finding


@pytest.mark.integration
def test_a_certificate_of_another_authority_is_told(machine: Machine) -> None:
    identity = machine.enrol()
    authority(identity.parent, "other", identity.parent / "ca.pem")
    assert "was not signed" in machine.of("certificate").finding


@pytest.mark.integration
@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nMANhYmM=\n-----END CERTIFICATE-----\n"])
def test_a_file_without_a_certificate_is_told(machine: Machine, content: bytes) -> None:
    machine.enrol().write_bytes(content)
    assert (machine.of("certificate").status, "holds no certificate" in machine.of("certificate").finding) == (FAIL, True)


def test_a_service_on_this_machine_needs_no_certificate(machine: Machine) -> None:
    machine.settings["service"] = "unix:///run/vmdkvol/service.sock"
    machine.without = {"openssl"}
    assert machine.of("certificate").status == OK
    assert "tool openssl" not in {finding.check for finding in machine.findings()}


@pytest.mark.parametrize(("ahead_s", "status"), [(0.0, OK), (90.0, WARN), (-2 * DAY, FAIL), (None, WARN)])
def test_the_clocks_are_compared(machine: Machine, ahead_s: float | None, status: str) -> None:
    machine.answer = Reached(WELCOME, ahead_s, 0.1, frozenset())
    assert machine.of("clock").status == status


# --- a service that answers ------------------------------------------------------------------------------------------


def answered(request: Request[Any], call: Call) -> Any:
    if isinstance(request, ListVolumes):
        return VolumePage((INFO,), None, 1)
    return Attachments(())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, answered)
    yield made
    made.close()


class FarTcp:
    """A service on a network of this machine alone."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self._listener = listen(TcpAddress("127.0.0.1", 0))
        doors: dict[Address, VmId | None] = {TcpAddress("127.0.0.1", 0): None}
        service = self.authority.service_side()
        self._server = Server(doors, answered, identify, SystemClock(), listen=lambda _: self._listener, secure=service).start()
        self.address = str(self._listener.address)

    def enrol(self, settings: AgentSettings) -> None:
        settings.identity_file.parent.mkdir(parents=True)
        shutil.copy(self.authority.agent(VM_1), settings.identity_file)
        shutil.copy(self.authority.path, settings.authority_file)

    def close(self) -> None:
        self._server.drain(Deadline.after(SystemClock(), 1.0))


def local(site: Site) -> AgentSettings:
    return AgentSettings(service=str(site.address(VM_1)))


def test_a_service_is_asked_who_we_are_what_time_it_is_and_what_it_has(site: Site) -> None:
    reached = Reaching(local(site), SystemClock(), "boot").ask()
    assert (reached.welcome.vm, reached.volumes) == (VM_1, frozenset({INFO.name}))
    assert reached.ahead_s is not None
    assert abs(reached.ahead_s) <= reached.within_s + 1.0


def test_a_clock_that_is_wrong_by_a_day_is_seen(site: Site) -> None:
    class Behind(SystemClock):
        def wall(self) -> float:
            return super().wall() - DAY

    reached = Reaching(local(site), Behind(), "boot").ask()
    assert reached.ahead_s == pytest.approx(DAY, abs=60.0)


def test_a_service_that_is_away_is_told_with_its_address(tmp_path: Path) -> None:
    settings = AgentSettings(service=f"unix://{tmp_path}/away.sock")
    with pytest.raises(ServiceUnreachable, match="away.sock"):
        Reaching(settings, SystemClock(), "boot").ask(greeted_s=0.3)


@pytest.mark.integration
def test_a_service_elsewhere_is_asked_with_this_machine_s_certificate(tmp_path: Path) -> None:
    far = FarTcp(tmp_path)
    try:
        settings = AgentSettings(service=far.address, state_dir=str(tmp_path / "state"))
        with pytest.raises(NotEnrolled, match="no certificate"):
            Reaching(settings, SystemClock(), "boot").ask()
        far.enrol(settings)
        assert Reaching(settings, SystemClock(), "boot").ask().welcome.vm == VM_1
    finally:
        far.close()


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_or_json_and_ends_with_the_worst_line(site: Site, tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.touch(0o600)
    names = {"socket": str(tmp_path / "vsphere.sock"), "run_dir": str(tmp_path / "run"), "state_dir": str(tmp_path / "state")}
    config.write_text(dump_toml({"service": str(site.address(VM_1)), **names}))

    done = CliRunner().invoke(cli, ["--config", str(config), "doctor", "-o", "json"], standalone_mode=False)
    table = CliRunner().invoke(cli, ["--config", str(config), "doctor"], standalone_mode=False)

    found = [Finding(**line) for line in json.loads(done.output)]
    assert done.return_value == exit_code(found) == 2
    assert {finding.check: finding.status for finding in found}["service"] == OK
    assert table.output.splitlines()[0].split() == ["STATUS", "CHECK", "FINDING", "FIX"]


@pytest.mark.integration
def test_the_doctor_changes_nothing(machine: Machine) -> None:
    machine.enrol()
    before = {path: path.lstat().st_mtime_ns for path in machine.folder.rglob("*")}
    machine.findings()
    assert {path: path.lstat().st_mtime_ns for path in machine.folder.rglob("*")} == before
    assert machine.sysfs.told == []
