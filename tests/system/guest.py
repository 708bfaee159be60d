"""A virtual machine that runs: QEMU, with the PCI picture of a VMware machine and four PVSCSI controllers.

Everything is emulated (TCG): a kernel without KVM is the same machine, only slower. ``VMDKVOL_GUEST_ACCEL`` names another one.
"""

from __future__ import annotations

import base64
import fcntl
import math
import os
import re
import signal
import subprocess
import time
import warnings
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.system.lines import Gone, JsonLines, Message
from tests.system.machine import CONTROLLERS, Machine, Plugged, put_in
from tests.system.qmp import Qmp, Refused
from vmdkvol.volume import DiskUuid, ScsiAddress, new_disk_uuid

# Quiet 6 to 9 s, at a load of thirteen 60 and more: limits are far above, since no test judges speed.
READY_S = 400.0
COMMAND_S = 400.0
# What a boot computes until the guest takes commands, by a processor's clock and however busy the machine is: 7 to 12 s. A few
# times QEMU computed for all of READY_S while its kernel did not say a word; the same machine then came up at once.
BOOT_COMPUTES_S = 100.0
_QUIT_S = 10.0
# Without tb-size QEMU's cache of translated code grows to 1 GiB.
_ACCEL = "tcg,thread=multi,tb-size=256"
# What costs most where everything is emulated is left out.
_KERNEL = "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check nokaslr net.ifnames=0"
# A disk may come and go between any two words. Once the pattern of all disks fitted none yet, and where it was used, without
# quotes, the first one: "sd*" was its name, a write made a file of that name, and the disk had zeros on another machine.
_LIST_DISKS = r"""for d in /sys/block/sd*; do
  [ -e "$d" ] && echo "${d##*/} $(tail -c +5 "$d/device/vpd_pg80" 2>/dev/null | tr -d '\0')"
done; true"""
# Where VMware puts the bridges of the controllers, and their slots (the fields pciSlotNumber of a .vmx).
_BRIDGES = {bus: (0x15 + bus, 160 + 32 * bus) for bus in CONTROLLERS}


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a machine is made of beside its disks. ``vsock`` is the socket of a backend (tests.system.vsock).

    ``network``: a card whose way out is this computer, seen from the guest as 10.0.2.2. ``append`` is for the kernel;
    ``noudev`` in it starts no udev.
    """

    memory_mib: int = 512
    processors: int = 2
    network: bool = False
    vsock: Path | None = None
    append: str = ""
    controllers: int = 4
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A saved state of a machine that runs: the overlay of its root file system that holds it, and its name there."""

    overlay: Path
    name: str


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command in the guest ended: -1 if it did not end in time."""

    code: int
    output: str


class Guest:
    """A machine that can be switched on, off and on again; ``close`` leaves no process."""

    def __init__(
        self, machine: Machine, image: Path, hardware: Hardware | None = None, *, boot_computes_s: float = BOOT_COMPUTES_S
    ) -> None:
        """A boot that computes longer than ``boot_computes_s`` gets nowhere, and is begun once more."""
        self.machine = machine
        self.hardware = hardware or Hardware()
        self._image = image
        self._boot_computes_s = boot_computes_s
        # How it is started once more: what ``power_on`` was given.
        self._started_with: tuple[Snapshot | None, Path | None] = (None, None)
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: Qmp | None = None
        self._exec: JsonLines | None = None

    # --- its power -----------------------------------------------------------------------------------------------

    def power_on(self, snapshot: Snapshot | None = None, *, overlay: Path | None = None) -> Guest:
        """Start it with the disks that the machine has; return at once, see ``wait_ready``.

        Its root file system is the image's, and what it writes there is gone with it; with ``overlay``, a qcow2 file on the
        image, that keeps it and may hold snapshots. With ``snapshot`` it goes on where that was saved.
        """
        assert self._process is None, f"{self.machine.name} runs already"
        self._started_with = (snapshot, overlay)
        folder = self.machine.folder
        for name in ("qmp", "vim", "exec"):
            (folder / name).unlink(missing_ok=True)
        with self.machine.changing():
            disks = self.machine.disks_now()
            self._process = self._started(self._command(snapshot, overlay))
            self._exec = JsonLines(folder / "exec")
            self._qmp = Qmp(folder / "qmp")
            for disk in disks:
                put_in(self._qmp, disk)
            self._qmp.do("cont")
        return self

    def wait_ready(self, timeout_s: float = READY_S) -> Guest:
        """Return when a machine that was switched on takes commands.

        One whose boot computes without end is switched off and on, once, and a warning says so: slow is not stuck.
        """
        up = self._is_up_within(timeout_s, self._boot_computes_s)
        if not up and self.is_on and self._computed_s() > self._boot_computes_s:
            warnings.warn(
                f"{self.machine.name} computed and never came up, it is begun once more: {self.where()}", stacklevel=2
            )
            snapshot, overlay = self._started_with
            self.cut_power()
            self.power_on(snapshot, overlay=overlay)
            up = self._is_up_within(timeout_s, math.inf)
        if not up:
            raise Gone(f"not within {timeout_s:g} s: {self.machine.name} is up\n{self.where()}\n{self.console()}")
        return self

    def _is_up_within(self, timeout_s: float, computes_s: float) -> bool:
        """Return True as soon as it is; False when its QEMU has ended, or computed so long."""
        until = time.monotonic() + timeout_s
        while self.is_on and self._computed_s() < computes_s and time.monotonic() < until:
            with suppress(Gone):
                self._way_in.wait(lambda news: news.get("event") == "ready", 0, 1.0, f"{self.machine.name} is up")
                return True
        return False

    def where(self) -> str:
        """Return what QEMU says of each processor, and how much all of them computed: of a guest that says nothing itself."""
        if not self.is_on:
            return "QEMU has ended"
        try:
            registers = self.qmp.monitor("info registers -a", _QUIT_S)
        except (Gone, Refused, AssertionError) as error:
            registers = f"QEMU says nothing either: {error}"
        lines = [line for line in registers.splitlines() if line.startswith(("CPU#", "RIP", "EIP", "CR0", "QEMU"))]
        return "\n".join([f"QEMU computed {self._computed_s():.0f} s", *lines])

    def _computed_s(self) -> float:
        """Return the processor time of its QEMU, which is running."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def wait_restored(self) -> Guest:
        """Return when a machine that goes on from a snapshot takes commands and disks.

        QEMU 7.2 restores a PVSCSI controller that tells of no new disk any more: the guest binds its driver anew.
        """
        self.sh("cd /sys/bus/pci/drivers/vmw_pvscsi && for d in 0000:*; do [ -e $d ] && echo $d >unbind && echo $d >bind; done")
        return self

    def save(self, snapshot: Snapshot) -> None:
        """Save the state of the machine, which was started with the snapshot's overlay and has no disk."""
        assert not self.machine.disks(), "a disk would be saved with it"
        said = self.qmp.monitor(f"savevm {snapshot.name}")
        assert not said, said

    def freeze(self) -> None:
        """Its processors stand still; nothing is lost."""
        self.qmp.do("stop")

    def resume(self) -> None:
        self.qmp.do("cont")

    def reset(self) -> Guest:
        """Press the button: what was not on a disk is lost; return when it is up again, with the disks that it had."""
        since = self._way_in.told()
        self.qmp.do("system_reset")
        try:
            self._way_in.wait(lambda news: news.get("event") == "ready", since, READY_S, f"{self.machine.name} is up again")
        except Gone as gone:
            raise Gone(f"{gone}\n{self.console()}") from gone
        return self

    def cut_power(self) -> None:
        """kill -9 of the machine: what was not on a disk is lost; the machine keeps its disks, switched off."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._ended()

    def close(self) -> None:
        """Switch it off. Afterwards no process of it is left."""
        if self._process is None:
            return
        with suppress(Gone, Refused, AssertionError):
            self.qmp.do("quit", timeout_s=_QUIT_S)
        try:
            self._process.wait(_QUIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._ended()

    @property
    def is_on(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.machine.name} is off"
        return self._process.pid

    @property
    def qmp(self) -> Qmp:
        assert self._qmp is not None, f"{self.machine.name} is off"
        return self._qmp

    # --- its disks -----------------------------------------------------------------------------------------------

    def plug(self, file: Path, address: ScsiAddress, uuid: DiskUuid | None = None, *, read_only: bool = False) -> Plugged:
        """Give it a VMDK past every hypervisor, as an administrator's hand does."""
        disk = Plugged(uuid or new_disk_uuid(uuid4()), address, str(file), read_only=read_only)
        self.machine.plug(disk)
        return disk

    def unplug(self, disk: Plugged) -> None:
        """Pull the disk, whatever the guest does with it."""
        self.machine.unplug(disk)

    def block_devices(self) -> dict[str, str]:
        """Return the SCSI disks that its kernel has: the serial number of each, and its name such as sdb."""
        return disks_listed(self.sh(_LIST_DISKS))

    def wait_disk(self, uuid: DiskUuid, timeout_s: float = READY_S) -> str:
        """Return the path of the disk's device, waiting for it."""
        until = time.monotonic() + timeout_s
        while uuid.hex not in (found := self.block_devices()):
            assert time.monotonic() < until, f"{self.machine.name} has no disk {uuid}: {found}"
            time.sleep(0.1)
        return f"/dev/{found[uuid.hex]}"

    def write(self, device: str, content: bytes) -> None:
        """Write at the beginning of a device, durably; what is no block device stays as it is, and that is a failure."""
        to_it = f"test -b {device} && dd if=$f of={device} bs=1M conv=fsync,nocreat status=none"
        self.sh(f"f=$(mktemp) && base64 -d >$f && {to_it} && rm $f", given=base64.b64encode(content).decode())

    def read(self, device: str, size: int) -> bytes:
        """Return what a device begins with, ``size`` bytes or all that it has."""
        from_it = f"test -b {device} && head -c {size} {device} >$f"
        text = self.sh(f"f=$(mktemp) && {from_it} && gzip -1 $f && base64 -w 0 $f.gz && rm $f.gz")
        return zlib.decompress(base64.b64decode(text), wbits=31)

    def give_vsock(self, device: Path) -> None:
        """Afterwards a machine that runs has a vsock device, whose backend is at ``device``: QEMU saves none in a snapshot."""
        if "vsock" in {found["name"] for found in self.qmp.do("qom-list", {"path": "/machine/peripheral"})}:
            return
        self.qmp.do("chardev-add", {"id": "vsock", "backend": _socket_backend(device)})
        self.qmp.do("device_add", {"driver": "vhost-user-vsock-pci", "id": "vsock", "chardev": "vsock", "bus": "spare"})
        self.sh(
            "i=0; until [ -e /sys/bus/virtio/drivers/vmw_vsock_virtio_transport/virtio* ] || [ $((i += 1)) -gt 600 ]; "
            "do sleep 0.1; done; ls -d /sys/bus/virtio/drivers/vmw_vsock_virtio_transport/virtio*"
        )

    # --- inside ----------------------------------------------------------------------------------------------------

    def run(self, command: str, timeout_s: float = COMMAND_S, *, given: str = "") -> Ran:
        """Carry out a line of sh as root; ``given`` is its input. Any number at once, from any threads."""
        request = {"command": command, "timeout_s": timeout_s, "input": given}
        answer = self._way_in.ask(request, timeout_s + COMMAND_S)
        return Ran(answer["code"], answer["output"])

    def sh(self, command: str, timeout_s: float = COMMAND_S, *, given: str = "") -> str:
        """As ``run``, and it must succeed; return what it wrote."""
        ran = self.run(command, timeout_s, given=given)
        assert ran.code == 0, f"{self.machine.name}: {command[:500]}\nended with {ran.code}:\n{ran.output[-3000:]}"
        return ran.output

    def news(self) -> int:
        """Return how much its kernel told so far."""
        return self._way_in.told()

    def wait_news(self, event: str, since: int, timeout_s: float = READY_S) -> Message:
        """Return the first news of a block device of this kind (add, remove, change) from number ``since`` on."""
        return self._way_in.wait(lambda news: news.get("event") == event, since, timeout_s, f"{event} in {self.machine.name}")

    def console(self) -> str:
        """Return the end of what its kernel and its first process wrote, and what QEMU complained of."""
        texts = ((self.machine.folder / name).read_text(errors="replace") for name in ("console", "qemu.log"))
        return "\n".join(line for text in texts for line in text.splitlines()[-20:])

    # --- the process -----------------------------------------------------------------------------------------------

    @property
    def _way_in(self) -> JsonLines:
        assert self._exec is not None, f"{self.machine.name} is off"
        return self._exec

    def _ended(self) -> None:
        assert self._process is not None
        self._process.wait()
        for connection in (self._qmp, self._exec):
            if connection is not None:
                connection.close()
        self._process = self._qmp = self._exec = None

    def _started(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        # The kernel gives the lock up when the last process that has this descriptor is gone, and that is QEMU.
        power = os.open(self.machine.folder / "power", os.O_RDWR)
        try:
            fcntl.flock(power, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with (self.machine.folder / "qemu.log").open("ab") as log:
                return subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(power,),
                    # What it writes to the image lies there.
                    env={**os.environ, "TMPDIR": str(self.machine.folder)},
                )
        finally:
            os.close(power)

    def _command(self, snapshot: Snapshot | None, overlay: Path | None) -> list[str]:
        machine, hardware, folder = self.machine, self.hardware, self.machine.folder
        overlay = snapshot.overlay if snapshot is not None else overlay
        root = f"file={overlay},format=qcow2" if overlay else f"file={self._image / 'root.ext4'},format=raw,snapshot=on"
        memory = f"memory-backend-memfd,id=memory,size={hardware.memory_mib}M,share=on"
        command = [
            "qemu-system-x86_64",
            "-name",
            machine.name,
            "-uuid",
            str(machine.id),
            "-nodefaults",
            "-display",
            "none",
            "-S",
        ]
        command += ["-accel", os.environ.get("VMDKVOL_GUEST_ACCEL", _ACCEL), "-cpu", "max", "-smp", str(hardware.processors)]
        command += ["-machine", "q35,memory-backend=memory", "-m", str(hardware.memory_mib), "-object", memory]
        # Slots with VMware's numbers want the bridges' own hot-plug instead of ACPI's.
        command += ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]
        command += ["-kernel", str(self._image / "vmlinux"), "-initrd", str(self._image / "initrd.gz")]
        command += ["-append", f"{_KERNEL} benchname={machine.name} {hardware.append}"]
        command += ["-serial", f"file:{folder / 'console'}"]
        for name in ("qmp", "vim"):
            command += ["-qmp", f"unix:{folder / name},server=on,wait=off"]
        command += ["-drive", f"{root},if=none,id=root,discard=unmap", "-device", "virtio-blk-pci,drive=root,addr=0x3"]
        command += ["-chardev", f"socket,path={folder / 'exec'},server=on,wait=off,id=exec"]
        command += ["-device", "virtio-serial-pci,addr=0x4", "-device", "virtserialport,chardev=exec,name=org.vmdkvol.exec"]
        for bus, (address, slot) in _BRIDGES.items():
            bridge = f"pcie-root-port,id=bridge{bus},bus=pcie.0,addr={address:#x}.0,chassis={bus + 1},slot={slot}"
            command += ["-device", bridge]
            if bus < hardware.controllers:
                command += ["-device", f"pvscsi,id=scsi{bus},bus=bridge{bus}"]
        # For what comes while it runs: the root complex itself takes nothing.
        command += ["-device", "pcie-root-port,id=spare,bus=pcie.0,addr=0x19.0,chassis=5,slot=288"]
        if hardware.vsock is not None:
            command += ["-chardev", f"socket,id=vsock,path={hardware.vsock}"]
            command += ["-device", "vhost-user-vsock-pci,chardev=vsock,addr=0x5"]
        if hardware.network:
            command += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,addr=0x6,romfile="]
        if snapshot is not None:
            command += ["-loadvm", snapshot.name]
        return [*command, *hardware.extra]


def disks_listed(text: str) -> dict[str, str]:
    """Return the disks in what ``_LIST_DISKS`` wrote: the name of each by its serial number; not those that just come or go."""
    return {line[2]: line[1] for line in re.finditer(r"^(sd[a-z]+) (\S+)$", text, re.MULTILINE)}


def _socket_backend(path: Path) -> dict[str, object]:
    address = {"type": "unix", "data": {"path": str(path)}}
    return {"type": "socket", "data": {"addr": address, "server": False}}
