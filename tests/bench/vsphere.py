"""Rows of the vSphere side, against the simulator: what our client adds to a call, and how many calls it makes.

The simulator's own speed is not vSphere's; what is judged is our part of it. Its tasks end within the call that starts them.
"""

from __future__ import annotations

import signal
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

from pyVim.connect import Connect, Disconnect
from pyVmomi import vim

from tests.bench.figures import Goal, Measured, Round, Unit, counted, paired
from tests.bench.lines import NO_FLOOR, Line, Row
from tests.bench.stage import Stage
from tests.bench.starts import _pss as pss
from tests.daemons.site import eventually, listens
from tests.scale.filling import fill_database, records
from tests.vsphere.simulators import Simulator, simulator
from vmdkvol import logs
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.logs import Secret
from vmdkvol.messages import untold
from vmdkvol.names import DatastoreName
from vmdkvol.settings import dump_toml
from vmdkvol.volume import VmId, new_disk_uuid
from vmdkvol_esx.ports import AttachDisk, Change, CreateDisk, DetachDisk, DiskPath, DiskRef
from vmdkvol_esx.vsphere.connecting import Connector, Service
from vmdkvol_esx.vsphere.endpoint import Endpoint, Trust
from vmdkvol_esx.vsphere.hypervisor import VsphereHypervisor
from vmdkvol_esx.vsphere.session import Session

T = TypeVar("T")

CLOCK = SystemClock()
PLACE = DatastoreName("LocalDS_0")
FOLDER = "vmdkvol/11111111-1111-1111-1111-111111111111"
# The simulated vCenter has a cluster and a host outside of it: half of the machines each.
MACHINES = 50
MODE = "independent_persistent"


_PATIENCE_S = 120.0


class Wrong(Session[Service]):
    """A session that is slow, asks too much and changes twice: what the rows are there to find."""

    def change(self, what: str, call: Callable[[Service], T], deadline: Deadline, **more: Any) -> T:
        time.sleep(0.05)
        for _ in range(3):
            self.read("asking for nothing", lambda service: service.content.viewManager.CreateListView(None), deadline)
        if isinstance(call, partial):
            # The reconfigure: an empty one of the same machine, as one that is sent again would be counted.
            again = partial(call.func, call.args[0], vim.vm.ConfigSpec())
            super().change(what, again, deadline, **more)
        return super().change(what, call, deadline, **more)


class Side:
    """Our adapter on a simulator, with every machine of that registered."""

    def __init__(self, simulator: Simulator, *, spoil: bool) -> None:
        self.simulator = simulator
        connector = Connector(
            Endpoint("localhost", simulator.account, simulator.port),
            Trust(ca=simulator.ca),
            lambda: Secret(simulator.password),
        )
        log = logs.get("bench")
        session = Wrong(connector, CLOCK, log) if spoil else Session(connector, CLOCK, log)
        self.bare = Bare(simulator)
        self.vms = [VmId(UUID(machine.config.instanceUuid)) for machine in self.bare.machines]
        self.hypervisor = VsphereHypervisor(session, [PLACE], self.vms, CLOCK, log)
        self._alone = threading.Lock() if spoil else None

    def do(self, change: Change) -> None:
        """Carry the change out to its end, as the journal does."""
        if self._alone is None:
            return self._do(change)
        with self._alone:
            return self._do(change)

    def _do(self, change: Change) -> None:
        task = self.hypervisor.submit(change, uuid4())
        if task is not None:
            self.hypervisor.wait(task, Deadline.after(CLOCK, _PATIENCE_S), untold)

    def disk(self) -> DiskRef:
        """Return a disk that is there and that no machine has."""
        uuid = new_disk_uuid(uuid4())
        ref = DiskRef(uuid, DiskPath(PLACE, f"{FOLDER}/db-{uuid.hex[-8:]}.vmdk"))
        self.do(CreateDisk(ref, 16 << 20, "thin", {}))
        return ref

    def close(self) -> None:
        self.hypervisor.stop(Deadline.after(CLOCK, 30.0))
        self.bare.close()


class Bare:
    """The bindings alone: a reconfigure and one read of its task, as short as they can be."""

    def __init__(self, simulator: Simulator) -> None:
        context = ssl.create_default_context(cadata=simulator.ca)
        connect: Any = Connect
        self._service: Any = connect(
            host="localhost",
            port=simulator.port,
            user=simulator.account,
            pwd=simulator.password,
            sslContext=context,
            version="vim.version.v7_0_3_0",
        )
        content = self._service.RetrieveContent()
        view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
        self.machines: Sequence[Any] = sorted(view.view, key=lambda machine: str(machine._moId))

    def attach(self, machine: Any, disk: DiskRef, unit: int) -> None:
        backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName=str(disk.path), diskMode=MODE)
        device = vim.vm.device.VirtualDisk(key=-1, controllerKey=202, unitNumber=unit, backing=backing, capacityInKB=0)
        self._reconfigure(machine, "add", device)

    def detach(self, machine: Any, disk: DiskRef) -> None:
        devices = machine.config.hardware.device
        (device,) = [each for each in devices if getattr(each.backing, "fileName", None) == str(disk.path)]
        self._reconfigure(machine, "remove", device)

    def _reconfigure(self, machine: Any, operation: str, device: Any) -> None:
        change = vim.vm.device.VirtualDeviceSpec(operation=operation, device=device)
        task = machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change]))
        assert task.info.state == "success", task.info.error

    def close(self) -> None:
        disconnect: Any = Disconnect
        disconnect(self._service)


@contextmanager
def _sides(stage: Stage, machines: int) -> Iterator[Side]:
    with simulator("vcenter", stage.root / "vcenter", "-machines", str(machines // 2)) as found:
        side = Side(found, spoil=bool(stage.spoil))
        try:
            yield side
        finally:
            side.close()


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def attach(stage: Stage) -> Mapping[str, Measured]:
    """Wall time of an attach through our adapter (the disk's identity, the machine, the reconfigure, its end), less that of
    the bare bindings for a reconfigure of the same kind and one read of its task, in the same round (the shorter of two);
    the median is judged, and the ratio is told. A detach follows each, in no figure. What the service reads before it,
    one list or two of all machines by which it knows that nobody else has the disk, is in neither: the adapter alone is
    measured.

    The calls are the adapter's, as the simulator counted them, without the reads of tasks; a call is sent twice if the
    simulator saw more reconfigures than attaches and detaches were asked for.
    """
    with _sides(stage, 4) as side:
        vm, machine = side.vms[0], side.bare.machines[1]
        ours, floor = side.disk(), side.disk()

        def once() -> float:
            seconds = _timed(lambda: side.do(AttachDisk(vm, ours, MODE)))
            side.do(DetachDisk(vm, ours))
            return seconds

        def bare() -> float:
            seconds = _timed(lambda: side.bare.attach(machine, floor, 9))
            side.bare.detach(machine, floor)
            return seconds

        once()
        rounds = stage.compare(once, bare)
        calls, twice = _calls(side, vm, ours, stage.effort.calls)
    return {"vsphere.attach": _overhead(rounds), "vsphere.calls": counted(calls), "vsphere.twice": counted(twice)}


def _overhead(rounds: Sequence[Round]) -> Measured:
    compared = paired(rounds)
    over = statistics.median(each.ours - min(each.floor, each.again) for each in rounds)
    return Measured(over, compared.ours, compared.floor, compared.ratio, compared.same, compared.rounds, compared.dropped)


def _calls(side: Side, vm: VmId, disk: DiskRef, cycles: int) -> tuple[float, int]:
    """Return the calls of an attach, and how many reconfigures there were beyond those asked for."""
    made = 0
    before = side.simulator.calls().get("ReconfigVM_Task", 0)
    for _ in range(cycles):
        seen = side.simulator.calls()
        side.do(AttachDisk(vm, disk, MODE))
        now = side.simulator.calls()
        made += sum(now.values()) - sum(seen.values())
        side.do(DetachDisk(vm, disk))
    sent = side.simulator.calls().get("ReconfigVM_Task", 0) - before
    # One read of the task's end in each: the rest of the waiter's traffic is there only if a task goes on.
    return made / cycles - 1, sent - 2 * cycles


def parallel(stage: Stage) -> Mapping[str, Measured]:
    """Attach and detach through our adapter on 50 machines at once, one thread each: cycles a second of all together.

    Client and simulator share this machine's processors, and the client's share is mostly reading XML under Python's lock.
    The second line is sixteen attaches on one machine at the same moment: how many reconfigures that took.
    """
    with _sides(stage, MACHINES) as side:
        disks = [side.disk() for _ in side.vms]
        cycles = max(1, stage.effort.calls // 40)

        def work(vm: VmId, disk: DiskRef) -> None:
            for _ in range(cycles):
                side.do(AttachDisk(vm, disk, MODE))
                side.do(DetachDisk(vm, disk))

        with ThreadPoolExecutor(MACHINES) as pool:
            seconds = _timed(lambda: list(pool.map(work, side.vms, disks)))
        rate = len(disks) * cycles / seconds
        reconfigures = _at_once(side, side.vms[0], disks[:16])
    return {"vsphere.parallel": counted(rate), "vsphere.batch": counted(reconfigures)}


def _at_once(side: Side, vm: VmId, disks: Sequence[DiskRef]) -> int:
    before = side.simulator.calls().get("ReconfigVM_Task", 0)
    begin = threading.Barrier(len(disks))

    def work(disk: DiskRef) -> None:
        begin.wait(60)
        side.do(AttachDisk(vm, disk, MODE))

    with ThreadPoolExecutor(len(disks)) as pool:
        list(pool.map(work, disks))
    return side.simulator.calls().get("ReconfigVM_Task", 0) - before


def service(stage: Stage) -> Mapping[str, Measured]:
    """From the start of the service's process, with 10,000 volumes in its database and [vsphere] in its settings, until it
    listens; and its proportional set size a second after it has logged in and looked at the machines.

    The volumes' disks are not on the simulator: what the first scan makes of that comes after the start. The bindings'
    import is in the start. Byte code is kept, as an installation has it.
    """
    root = stage.root / "vsphere-service"
    root.mkdir()
    with simulator("vcenter", root / "sim") as found:
        bare = Bare(found)
        uuid = bare.machines[0].config.instanceUuid
        bare.close()
        config = _settings(root, found, uuid)
        fill_database(root / "state" / "vmdkvol.db", records(stage.effort.many, datastore=PLACE))
        command = [sys.executable, "-m", "vmdkvol_esx.cli", "--config", str(config), "serve"]
        if stage.spoil:
            command = ["sh", "-c", 'sleep 4; exec "$@"', "sh", *command]
        with (root / "log").open("ab") as log:
            began = time.perf_counter()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            eventually(partial(listens, root / "s.sock"), "the service listens", _PATIENCE_S)
            started = time.perf_counter() - began
            eventually(partial(_watches, found), "the service has logged in", _PATIENCE_S)
            time.sleep(1.0)
            size = pss([process.pid])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    return {"vsphere.start": counted(started), "vsphere.memory": counted(size)}


def _watches(found: Simulator) -> bool:
    return found.calls().get("CreateContainerView", 0) > 1


def _settings(root: Path, found: Simulator, uuid: str) -> Path:
    for name, text in (("password", found.password), ("ca.pem", found.ca)):
        (root / name).touch(mode=0o600)
        (root / name).write_text(text)
    (root / "state").mkdir(mode=0o700)
    vsphere = {"host": "localhost", "port": found.port, "user": found.account, "datastores": [PLACE]}
    vsphere |= {"password_file": str(root / "password"), "ca_file": str(root / "ca.pem")}
    hosts = [{"name": "host", "id": uuid, "socket": str(root / "s.sock")}]
    config = root / "service.toml"
    config.touch(mode=0o600)
    admin = str(root / "a.sock")
    settings = {"state_dir": str(root / "state"), "admin_socket": admin, "trash_retention_s": 0.0}
    config.write_text(dump_toml({**settings, "vsphere": vsphere, "hosts": hosts}))
    return config


ROWS = (
    Row(
        "vsphere",
        (
            Line(
                "vsphere.attach",
                "vSphere: what our client adds to an attach",
                "bare pyVmomi reconfigure",
                Goal(0.015, unit="s"),
            ),
            Line("vsphere.calls", "vSphere: API calls of an attach, reads of tasks aside", NO_FLOOR, Goal(3), Unit.COUNT),
            Line("vsphere.twice", "vSphere: reconfigures that were sent twice", NO_FLOOR, Goal(0), Unit.COUNT),
        ),
        attach,
        20,
        "vsphere",
        ("vsphere.attach", "vsphere.calls", "vsphere.twice"),
    ),
    Row(
        "vsphere-many",
        (
            Line("vsphere.parallel", "vSphere: cycles of 50 machines at once", NO_FLOOR, Goal(60, least=True), Unit.RATE),
            Line("vsphere.batch", "vSphere: reconfigures for 16 attaches at once", NO_FLOOR, Goal(2), Unit.COUNT),
        ),
        parallel,
        25,
        "vsphere",
        ("vsphere.parallel", "vsphere.batch"),
    ),
    Row(
        "vsphere-service",
        (
            Line("vsphere.start", "vSphere: start of a service with 10,000 volumes", NO_FLOOR, Goal(3, unit="s")),
            Line("vsphere.memory", "vSphere: memory of the service", NO_FLOOR, Goal(80e6, unit="B"), Unit.BYTES),
        ),
        service,
        10,
        "vsphere",
        ("vsphere.start",),
    ),
)
