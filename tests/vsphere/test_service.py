"""The service as a process on a simulator: it is asked as an agent asks, and looked at from beside."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest

from tests.daemons.site import ROOT, eventually
from tests.vsphere.outside import Outside, escaped, outside
from tests.vsphere.simulators import Model, Simulator, certificates
from vmdkvol.channel import UnixAddress
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import HypervisorUnreachable, NameConflict, PolicyNotFound, StillWorking, VolumeError, VolumeInUse
from vmdkvol.line import Line
from vmdkvol.messages import Attach, Call, CreateVolume, ListVolumes, RemoveVolume, Request
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.settings import dump_toml
from vmdkvol.volume import State, VolumeInfo

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]
A = TypeVar("A")

VSAN = "vSAN Default Storage Policy"


@dataclass
class Site:
    simulator: Simulator
    folder: Path
    host: str
    password: str = ""

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def config(self) -> Path:
        path = self.folder / "service.toml"
        for name, content in (
            ("password", self.password or self.simulator.password),
            ("ca.pem", self.simulator.ca),
            ("service.toml", ""),
        ):
            (self.folder / name).touch(0o600)
            (self.folder / name).write_text(content)
        values = {
            "state_dir": str(self.folder / "state"),
            "admin_socket": str(self.folder / "admin.sock"),
            "default_datastore": "LocalDS_0",
            "trash_retention_s": 0.0,
            "hosts": [{"name": "docker1", "id": self.host, "socket": str(self.socket)}],
            "vsphere": {
                "host": "localhost",
                "port": self.simulator.port,
                "user": self.simulator.account,
                "datastores": ["LocalDS_0", "LocalDS_1"],
                "password_file": str(self.folder / "password"),
                "ca_file": str(self.folder / "ca.pem"),
            },
        }
        path.write_text(dump_toml(values))
        return path

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "vmdkvol_esx.cli", "--config", str(self.config()), *words]

    @contextmanager
    def started(self, *before: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the service, under the command ``before``, until the end of the block; it then ends in order."""
        command = [*before, *self.command("serve")]
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(60) == 0

    @contextmanager
    def serving(self, *before: str) -> Iterator[subprocess.Popen[bytes]]:
        with self.started(*before) as process:
            eventually(self.socket.exists, f"the service listens, see {self.log}")
            yield process

    def ask(self, request: Request[A], seconds: float = 60.0) -> A:
        line = Line(UnixAddress(self.socket), SystemClock(), agent="a test", boot_id="1").start()
        try:
            return line.ask(request, Call(uuid4(), Deadline.after(SystemClock(), seconds)))
        finally:
            line.close()

    def create(self, name: str, **opts: str) -> VolumeInfo:
        options = CreateOptions.parse({key.replace("_", "-"): value for key, value in opts.items()})
        return self.ask(CreateVolume(VolumeRef.parse(name), options))

    def doctor(self) -> dict[str, dict[str, str]]:
        done = subprocess.run(self.command("doctor", "-o", "json"), cwd=ROOT, capture_output=True, text=True, timeout=100)
        return {line["check"]: line for line in json.loads(done.stdout)}


@pytest.fixture(params=["vcenter", "esxi"])
def site(request: pytest.FixtureRequest, own: Callable[..., Simulator], tmp_path: Path) -> Site:
    simulator = own(request.param, "-uuids")
    with outside(simulator) as client:
        host = str(client.machines()[0].config.instanceUuid)
    (tmp_path / "service").mkdir()
    return Site(simulator, tmp_path / "service", host)


def on(model: Model) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("site", [model], indirect=True)


def test_a_volume_is_made_on_the_datastore_and_removed_again(site: Site) -> None:
    with site.serving(), outside(site.simulator) as client:
        info = site.create("db", size="8mb")
        there = files(client)
        site.ask(RemoveVolume(info.id))

        assert (info.state, info.created_by, [name for name in there if name.endswith(".vmdk")] != []) == (
            State.READY,
            str(client.machines()[0].name),
            True,
        )
        assert [name for name in files(client) if name.endswith(".vmdk")] == []


def files(client: Outside) -> list[str]:
    top = Path(client.datastore("LocalDS_0").summary.url) / "vmdkvol"
    return [path.name for path in top.rglob("*")] if top.exists() else []


@on("vcenter")
def test_the_service_needs_no_capability(site: Site) -> None:
    """As packaging/vsphere/network.conf starts it, but for the one that opens its port to Docker hosts on the network."""
    with site.serving("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs") as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert site.create("db", size="8mb").state is State.READY

    assert "CapEff:\t0000000000000000\n" in status


@on("vcenter")
def test_a_volume_is_made_under_the_policy_of_its_name(site: Site) -> None:
    with site.serving():
        assert site.create("db", size="8mb", vsan_policy_name=VSAN).options.policy == VSAN
        with pytest.raises(NameConflict, match="policy is vSAN Default Storage Policy, not VVol No Requirements Policy"):
            site.create("db", policy="VVol No Requirements Policy")
        with pytest.raises(PolicyNotFound) as refused:
            site.create("other", policy="golden")

    assert VSAN in refused.value.remedy


@on("esxi")
def test_a_single_host_refuses_a_policy(site: Site) -> None:
    with site.serving(), pytest.raises(PolicyNotFound, match="no storage policy"):
        site.create("db", size="8mb", policy=VSAN)


@on("vcenter")
def test_the_password_is_in_no_argument_no_environment_and_no_log(site: Site) -> None:
    with site.serving() as process:
        site.create("db", size="8mb")
        with pytest.raises(VolumeError):
            site.create("db", size="16mb")
        seen = [Path(f"/proc/{process.pid}/{what}").read_bytes() for what in ("cmdline", "environ")]

    secret = site.simulator.password.encode()
    assert [secret in text for text in (*seen, site.log.read_bytes())] == [False, False, False]


@on("vcenter")
def test_a_wrong_password_is_told_to_who_asks_and_tried_once(site: Site) -> None:
    with site.serving():
        site.create("db", size="8mb")
    site.password = "hunter2-canary"
    before = site.simulator.calls()["Login"]

    with site.serving():
        for _ in range(3):
            with pytest.raises(HypervisorUnreachable, match="the account or its password is wrong"):
                site.ask(ListVolumes(), 2.0)

    # The next one is 30 s later.
    assert site.simulator.calls()["Login"] == before + 1
    assert b"hunter2-canary" not in site.log.read_bytes()


@on("vcenter")
def test_a_first_start_with_a_wrong_password_waits_and_does_not_end(site: Site) -> None:
    """systemd starts what ends again after a second, and each start would try the password: that locks the account."""
    site.password = "hunter2-canary"
    before = site.simulator.calls().get("Login", 0)

    with site.started() as process:
        eventually(lambda: b"must be seen first" in site.log.read_bytes(), "the service says what it waits for")
        time.sleep(2.0)
        assert process.poll() is None

    assert site.simulator.calls()["Login"] == before + 1
    assert not site.socket.exists()


@on("vcenter")
def test_a_first_start_without_its_vcenter_serves_when_that_is_there(site: Site) -> None:
    site.simulator.kill()

    with site.started():
        eventually(lambda: b"must be seen first" in site.log.read_bytes(), "the service says what it waits for")
        site.simulator.again()
        eventually(site.socket.exists, "the service listens")

        assert site.create("db", size="8mb").state is State.READY


@on("vcenter")
@pytest.mark.parametrize("file", ["ca.pem", "service.toml"])
def test_settings_that_cannot_work_end_the_service_with_a_line(site: Site, file: str) -> None:
    command = site.command("serve")
    (site.folder / file).write_text("nothing\n")

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert (done.returncode, file in done.stderr, done.stderr.count("\n")) == (2, True, 1)


@on("vcenter")
def test_a_certificate_that_expired_is_told_with_what_helps_and_after_its_renewal_the_service_goes_on(site: Site) -> None:
    made = certificates()
    site.simulator.kill()
    site.simulator.ca, site.simulator.pair = made.ca, made.good
    site.simulator.again()
    with site.serving():
        site.ask(ListVolumes())
        site.simulator.kill()
        site.simulator.pair = made.expired
        site.simulator.again()
        with pytest.raises(HypervisorUnreachable, match="certificate has expired.*; renew it on the server"):
            site.ask(ListVolumes(), 5.0)
        site.simulator.kill()
        site.simulator.pair = made.good
        site.simulator.again()

        eventually(lambda: _answers(site), "the service answers again")


@on("vcenter")
def test_before_a_server_that_is_silent_each_request_ends_in_its_time_and_later_the_service_goes_on(site: Site) -> None:
    with site.serving():
        info = site.create("db", size="8mb")
        line = Line(UnixAddress(site.socket), SystemClock(), agent="a test", boot_id="1").start()
        line.ask(ListVolumes(), Call(uuid4(), Deadline.after(SystemClock(), 60.0)))
        site.simulator.kill()
        with socket.create_server(("127.0.0.1", site.simulator.port)):
            # The kernel takes the connections, and nobody ever answers.
            begun = time.monotonic()
            with pytest.raises((StillWorking, HypervisorUnreachable)):
                line.ask(Attach(info.id), Call(uuid4(), Deadline.after(SystemClock(), 5.0)))
            took = time.monotonic() - begun
        line.close()
        site.simulator.again()

        eventually(lambda: _answers(site), "the service answers again", 90.0)
    # Generous for a busy machine; the limit of a call without a deadline is far above it.
    assert took < 25.0


def _answers(site: Site) -> bool:
    try:
        site.ask(ListVolumes(), 5.0)
    except VolumeError:
        return False
    return True


@pytest.mark.parametrize("name", ["db [prod] 50% ü", "x  y", 'a&b<c>"d', "a/b"])
@on("vcenter")
def test_a_machine_of_any_name_is_named_when_it_has_the_disk(site: Site, name: str) -> None:
    with site.serving(), outside(site.simulator) as client:
        info = site.create("db", size="8mb")
        store = Path(client.datastore("LocalDS_0").summary.url)
        [disk] = [path.relative_to(store) for path in store.rglob("db-*.vmdk") if "-flat" not in path.name]
        other = client.machines()[1]
        client.attach(other, f"[LocalDS_0] {disk}", 5)
        site.simulator.machine(other._moId, "rename", to=escaped(name))

        with pytest.raises(VolumeInUse, match=re.escape(f"is attached to {name}, ")):
            site.ask(Attach(info.id))


def test_the_doctor_looks_at_a_database_that_is_in_use(site: Site) -> None:
    with site.serving():
        site.create("db", size="8mb")
        line = site.doctor()["database"]

    assert (line["status"], "1 volumes" in line["finding"]) == ("OK", True)


@on("vcenter")
def test_the_doctor_knows_a_renamed_datastore_as_the_service_does(site: Site) -> None:
    with site.serving():
        site.create("db", size="8mb")
        site.simulator.datastore("LocalDS_0", "rename", to="another [name] 50%")

        assert site.doctor()["datastore LocalDS_0"]["status"] == "OK"
