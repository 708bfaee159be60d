"""`vmdkvol-agent doctor`: looks at everything that the agent needs on this Docker host, and changes nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from vmdkvol.addresses import UnixAddress, VsockAddress, parse_address
from vmdkvol.cli import engine_checks
from vmdkvol.clock import Clock
from vmdkvol.errors import VolumeError
from vmdkvol.findings import OK, WARN, Finding, of_access, of_error
from vmdkvol.options import PACKAGES
from vmdkvol_guest import checkup
from vmdkvol_guest.linux import certificates, enlarging, scsi, vsock
from vmdkvol_guest.linux.commands import Commands, which
from vmdkvol_guest.linux.filesystems import TOOLS
from vmdkvol_guest.reaching import Reached
from vmdkvol_guest.settings import AgentSettings

# What the agent loads, by the names under which pip has them: each is its own module's name.
LIBRARIES = ("flask", "gunicorn", "cattrs", "click", "pyudev")
_START = "systemctl enable --now vmdkvol-agent.socket vmdkvol-agent; its log says why it does not run"

Check = Callable[[], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Places:
    """Where this machine's kernel and engine are looked at."""

    sysfs: Path = scsi.SYSFS
    proc: Path = Path("/proc")
    vsock: Path = vsock.DEVICE
    modules: Path = Path("/lib/modules")
    daemon_file: Path = engine_checks.DAEMON_FILE
    specs: Sequence[Path] = engine_checks.SPEC_DIRECTORIES


@dataclass(slots=True)
class Doctor:
    """``reach`` asks the service. ``find`` says where a program is, ``uid`` who runs the doctor."""

    settings: AgentSettings
    clock: Clock
    commands: Commands
    reach: Callable[[], Reached]
    find: Callable[[str], str | None] = which
    uid: Callable[[], int] = os.geteuid
    places: Places = field(default_factory=Places)

    def examine(self) -> Iterator[Finding]:
        """Yield every finding. A check that cannot look says so, and the others go on."""
        checks: list[tuple[str, Check]] = [
            ("root", lambda: iter([checkup.root(self.uid())])),
            ("python", lambda: iter([checkup.python(sys.version_info[:3], _missing_libraries())])),
            ("driver", lambda: iter([checkup.driver(self.settings.driver, self.settings.socket)])),
            ("tools", self._tools),
            ("vsock", self._vsock),
            ("pvscsi", self._disks),
            ("mount root", self._mount_root),
            ("agent", self._agent),
            ("certificate", self._certificate),
            ("service", self._service),
        ]
        for name, check in checks:
            try:
                yield from check()
            except VolumeError as error:
                yield of_error(name, error)
            except OSError as error:
                yield of_access(name, error)

    # --- this machine ----------------------------------------------------------------------------------------------

    @property
    def _here(self) -> bool:
        """Whether the service is on this machine, such as a sandbox's."""
        return isinstance(parse_address(self.settings.service), UnixAddress)

    def _tools(self) -> Iterator[Finding]:
        for fstype, package in PACKAGES.items():
            missing = [tool for tool in TOOLS[fstype] if tool != "blkid" and self.find(tool) is None]
            yield checkup.tools(fstype, package, missing, kernel=self._knows(fstype, f"/{fstype}.ko"))
        yield checkup.growth(able=enlarging.may_grow_ext4(self.places.proc))
        found = self.find("blkid") is not None
        yield checkup.tool("blkid", "util-linux", there=found, need="no disk can be told from another")
        found = self.find("openssl") is not None
        if not self._here:
            yield checkup.tool("openssl", "openssl", there=found, need="no key can be made and no certificate renewed")

    def _knows(self, name: str, module: str) -> bool | None:
        """Tell whether the kernel has a file system, or could load it; None if neither can be seen."""
        listed = (self.places.proc / "filesystems").read_text("ascii", "replace").split()
        return True if name in listed else self._has_module(module)

    def _has_module(self, module: str) -> bool | None:
        folder = self.places.modules / os.uname().release
        lists = [folder / "modules.builtin", folder / "modules.dep"]
        texts = [each.read_text("utf-8", "replace") for each in lists if each.is_file()]
        return any(module in text for text in texts) if texts else None

    def _vsock(self) -> Iterator[Finding]:
        needed = isinstance(parse_address(self.settings.service), VsockAddress)
        seen = checkup.Vsock(there=self.places.vsock.exists())
        if needed and seen.there:
            seen = checkup.Vsock(True, vsock.context_id(self.places.vsock))
        yield checkup.vsock(seen, needed=needed)

    def _disks(self) -> Iterator[Finding]:
        tree = scsi.ScsiTree(self.clock, lambda name, _: f"/dev/{name}", sysfs=self.places.sysfs)
        controllers = tree.controllers()
        hosts = {each.host for each in controllers}
        disks = [disk for disk in tree.disks() if disk.place[0] in hosts]
        pvscsi = [each for each in controllers if each.driver == scsi.PVSCSI]
        seen = checkup.Disks(
            pvscsi=len(pvscsi),
            others=len(controllers) - len(pvscsi),
            driver=self._has_module("/vmw_pvscsi.ko") is not False,
            named=len([disk for disk in disks if disk.uuid is not None]),
            silent=len([disk for disk in disks if disk.uuid is None]),
        )
        yield checkup.controllers(seen, sandbox=self._here)
        yield checkup.enable_uuid(seen, sandbox=self._here)
        yield checkup.multipath({disk.name: holders for disk in disks if (holders := tree.holders(disk.name))})

    def _mount_root(self) -> Iterator[Finding]:
        yield engine_checks.mount_root(Path(self.settings.run_dir), self.places.proc)
        root = engine_checks.data_root(self.places.proc, self.places.daemon_file)
        mounts = Path(self.settings.run_dir) / "mnt"
        yield checkup.engine(str(root), [str(mounts)])

    def _agent(self) -> Iterator[Finding]:
        socket = Path(self.settings.socket)
        yield engine_checks.plugin("agent", socket, _START)
        yield from engine_checks.stale_sockets(socket.parent)
        yield from engine_checks.left_over_specs(self.places.specs)

    # --- the service -----------------------------------------------------------------------------------------------

    def _certificate(self) -> Iterator[Finding]:
        if self._here:
            yield Finding(OK, "certificate", "none is needed: the service is on this machine")
            return
        identity, authority = self.settings.identity_file, self.settings.authority_file
        if not identity.exists():
            yield checkup.no_certificate(str(identity))
            return
        yield checkup.certificate(certificates.read(self.commands, identity, authority), self.clock.wall())

    def _service(self) -> Iterator[Finding]:
        try:
            reached = self.reach()
        except VolumeError as error:
            yield of_error("service", error)
            yield Finding(WARN, "clock", "not compared: the service must be reached first", "put that right, and run it again")
            return
        welcome = reached.welcome
        found = f"answers at {self.settings.service}; this machine is {welcome.vm_name} ({welcome.vm})"
        yield Finding(OK, "service", found)
        yield checkup.clock(reached.ahead_s, reached.within_s)
        volumes = engine_checks.data_root(self.places.proc, self.places.daemon_file) / "volumes"
        yield from engine_checks.shadowing(reached.volumes, self.settings.driver, volumes)


def _missing_libraries() -> list[str]:
    return [name for name in LIBRARIES if find_spec(name) is None]
