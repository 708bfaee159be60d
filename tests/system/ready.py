"""A guest that is saved with its Docker engine running and its images loaded, and guests that go on from there.

It is made once and kept beside the image. A copy of it is another machine only where it is told so: it gets a name, the time,
a boot id and random numbers of its own, as a hypervisor tells a machine that it is a copy.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.system import docker
from tests.system.container_images import BUSYBOX, archives
from tests.system.docker import Docker
from tests.system.guest import Guest, Hardware, Snapshot
from tests.system.machine import Machine
from vmdkvol.volume import VmId

NAME = "docker"
# Where a program in a guest tells what must not be lost with the guest: QEMU writes it to a file of this computer, which stays
# when guest and QEMU are killed. The guest's name of it is ``acks_device``.
ACKS = "org.vmdkvol.acks"
# For the disk with the agent's code, and for a vsock device.
PORTS = ("port-code", "port-vsock")
_BUILD_S = 900.0
# The sources of what is saved.
_HERE = Path(__file__).parent
_SOURCES = ("ready.py", "docker.py", "guest.py")
# linux/random.h: RNDRESEEDCRNG. What is written to /dev/urandom counts from then on.
_RESEED = 0x5207
_ANOTHER = """
hostname {name}
date -s @{now} >/dev/null
echo {boot} >/run/boot-id
umount /proc/sys/kernel/random/boot_id 2>/dev/null
mount --bind /run/boot-id /proc/sys/kernel/random/boot_id || exit 1
python3 -S -c 'import fcntl, os
with open("/dev/urandom", "r+b", buffering=0) as random:
    random.write(bytes.fromhex("{seed}"))
    fcntl.ioctl(random, {reseed})'
"""


def hardware(machine: Machine, *, memory_mib: int = 896, network: bool = True) -> Hardware:
    """Return what a guest with an engine is made of: the same for who is saved and who goes on."""
    (machine.folder / "acks").touch()
    file = ("-chardev", f"file,id=acks,path={machine.folder / 'acks'},append=on")
    port = ("-device", f"virtserialport,chardev=acks,name={ACKS}")
    # Nothing is at them yet: what may not be there while a state is saved is plugged afterwards.
    roots = [
        f"pcie-root-port,id={name},bus=pcie.0,addr={9 + at:#x}.0,chassis={9 + at},slot={9 + at}"
        for at, name in enumerate(PORTS)
    ]
    ports = [word for root in roots for word in ("-device", root)]
    return Hardware(memory_mib=memory_mib, processors=2, network=network, extra=(*file, *port, *ports))


def acks(machine: Machine) -> str:
    """Return all that programs in the machine's guests have told over ``ACKS``, whole lines only."""
    text = (machine.folder / "acks").read_text(encoding="utf-8", errors="replace")
    return text[: text.rfind("\n") + 1]


def acks_device(guest: Guest) -> str:
    return guest.sh(f"basename $(dirname $(grep -lx {ACKS} /sys/class/virtio-ports/*/name))").strip()


@contextmanager
def going_on(machine: Machine, image: Path) -> Iterator[Guest]:
    """A guest for ``machine`` that goes on from the saved one; that is made first if there is none."""
    guest = Guest(machine, image, hardware(machine))
    try:
        yield go_on(guest, image)
    finally:
        guest.close()


def go_on(guest: Guest, image: Path) -> Guest:
    """Switch a guest on that goes on from the saved one, with the disks that its machine has now."""
    overlay = guest.machine.folder / "ready.qcow2"
    # Each needs the whole state for itself; of one that was killed, the old one is overwritten.
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(make(image)), str(overlay)], check=True)
    guest.power_on(Snapshot(overlay, NAME))
    become_another(guest)
    return guest.wait_restored()


def become_another(guest: Guest) -> None:
    """Afterwards the guest, a copy, has a name, a clock, a boot id and random numbers that no other one has."""
    seed = secrets.token_hex(64)
    text = _ANOTHER.format(name=guest.machine.name, now=int(time.time()), boot=uuid4(), seed=seed, reseed=_RESEED)
    guest.sh(text)


def make(image: Path) -> Path:
    """Return the overlay that holds the saved machine; it is made if there is none, which takes a minute."""
    images = archives(image.parent)
    saved = image.parent / f"ready-{_key(image, images)}.qcow2"
    with _locked(image.parent / "ready.lock"):
        if not saved.exists():
            for old in image.parent.glob("ready-*.qcow2"):
                old.unlink()
            _save(image, images, saved)
    return saved


def _key(image: Path, images: dict[str, Path]) -> str:
    """A saved state is of one image, one QEMU and one set of devices."""
    version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, check=True).stdout
    said = [image.name.encode(), version, *(archive.name.encode() for archive in images.values())]
    return hashlib.sha256(b"\0".join([*said, *((_HERE / name).read_bytes() for name in _SOURCES)])).hexdigest()[:16]


def _save(image: Path, images: dict[str, Path], saved: Path) -> None:
    work = saved.with_suffix(".making")
    shutil.rmtree(work, ignore_errors=True)
    machine = Machine.make(work / "vm", NAME, VmId(uuid4()), 9)
    overlay = work / "overlay.qcow2"
    base = ["-F", "raw", "-b", str(image / "root.ext4")]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *base, str(overlay)], check=True)
    tars = docker.disk_of(images, work / "images.ext4")
    given = hardware(machine)
    drive = ("-drive", f"file={tars},if=none,id=tars,format=raw,read-only=on", "-device", "virtio-blk-pci,drive=tars,addr=0x8")
    loading = Hardware(given.memory_mib, given.processors, given.network, extra=(*given.extra, *drive))
    # In two lives: what is saved must have the devices that those who go on have.
    with _on(Guest(machine, image, loading), overlay) as guest:
        engine = Docker(guest)
        engine.begin()
        guest.sh("mkdir -p /mnt/tars && mount -o ro /dev/vdb /mnt/tars")
        engine.wait_up()
        for name in images:
            engine.load(name, f"/mnt/tars/{name}.tar")
        guest.sh("kill -TERM $(cat /var/run/docker.pid); umount /mnt/tars; sync; mount -o remount,ro / 2>/dev/null; sync")
    with _on(Guest(machine, image, given), overlay) as guest:
        engine = Docker(guest)
        engine.begin()
        engine.wait_up()
        # The programs that a container's start needs are in the page cache from then on.
        engine.said("run", "--rm", "--network", "none", BUSYBOX, "true")
        guest.sh("sync")
        guest.save(Snapshot(overlay, NAME))
    overlay.rename(saved)
    shutil.rmtree(work)


@contextmanager
def _on(guest: Guest, overlay: Path) -> Iterator[Guest]:
    try:
        yield guest.power_on(overlay=overlay).wait_ready()
    finally:
        guest.close()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One at a time makes it; whoever waits finds it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        until = time.monotonic() + _BUILD_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < until, f"another one makes what {path} guards, and does not end"
                time.sleep(0.5)
        yield
    finally:
        os.close(lock)


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
