"""The row of a virtual machine: QEMU without KVM, so that all in it is some ten times slower than it would be."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from tests.bench.figures import Goal, Measured, Round, paired
from tests.bench.lines import Line, Row
from tests.bench.stage import Stage
from tests.system.agents import PLUGIN
from tests.system.guest import Guest
from tests.system.machine import Plugged, put_in, take_out
from tests.system.site import Site
from tests.system.told import bring
from tests.system.world import Host, world
from vmdkvol.volume import ScsiAddress, new_disk_uuid

ROOT = Path(__file__).parents[2]
VOLUME = "timed"
SIZE_MIB = 64
PORT = 1020
# A mounted disk of the agent's stays for the linger before it goes: a round takes some ten seconds.
SHARE = 2
_SPOILED_S = 3.0


class Bare:
    """Adds one disk to a guest and takes it away, when a program in there says so, over QMP and with nothing around it."""

    def __init__(self, guest: Guest, disk: Plugged, listener: socket.socket) -> None:
        self._guest = guest
        self._disk = disk
        self._listener = listener
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            with accepted, accepted.makefile("rwb", buffering=0) as lines:
                # Who calls.
                lines.readline()
                while word := lines.readline():
                    self._do(word)
                    lines.write(b"done\n")

    def _do(self, word: bytes) -> None:
        if word == b"add\n":
            put_in(self._guest.qmp, self._disk)
        else:
            take_out(self._guest.qmp, self._disk)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


def attach(stage: Stage) -> Mapping[str, Measured]:
    """Wall time of a Mount in a virtual machine, of a volume with a clean file system that no machine has.

    The floor is a disk of the same size: QMP's blockdev-add and device_add, the kernel's news of the disk, mount(2) and stat,
    asked for and timed by a program in the guest. Ours has the agent's HTTP, the service's part over vsock with TLS, what both
    write down durably, and the proof that the device is the disk. All that runs in the guest is emulated: its Python is some
    ten times slower than on a processor, its kernel's part of the work less so.
    """
    root = stage.directory("guest")
    done = subprocess.run(["packaging/dev/guest.sh"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    delays = {"AttachDisk": _SPOILED_S} if stage.spoil else {}
    with world(Site(root), Path(done.stdout.strip()), "m", channels=("vsock",), delays=delays) as made:
        (host,) = made.hosts
        host.on()
        with _bare(made.site, host):
            host.docker.create(VOLUME, size=f"{SIZE_MIB}mb")
            rounds = max(2, stage.effort.rounds // SHARE)
            words = (rounds, stage.random.random(), PLUGIN, VOLUME, PORT)
            program = bring(host.guest, "attach_times.py")
            # Once before it counts: the file system is made at the first Mount.
            host.guest.sh(f"python3 -S {program} 1 {' '.join(map(str, words[1:]))}", 600)
            said = host.guest.sh(f"python3 -S {program} {' '.join(map(str, words))}", 120 + 60 * rounds)
        host.docker.said("volume", "rm", VOLUME)
    taken = [json.loads(line) for line in said.splitlines()]
    computed = statistics.mean(each["cpu"] for each in taken)
    found = paired([Round(each["ours"], each["floor"], each["again"]) for each in taken])
    return {"guest": replace(found, notes=f"of ours the agent computes {computed * 1e3:.0f} ms, emulated")}


@contextmanager
def _bare(site: Site, host: Host) -> Iterator[Bare]:
    """The floor's disk, with a file system, and who adds it."""
    disk = Plugged(new_disk_uuid(uuid4()), ScsiAddress(3, 0), str(site.vmdk(SIZE_MIB)))
    host.machine.plug(disk)
    host.guest.sh(f"mkfs.ext4 -q -F {host.guest.wait_disk(disk.uuid)}")
    host.machine.unplug(disk)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{site.root}/wire-{host.name}_{PORT}")
    listener.listen()
    bare = Bare(host.guest, disk, listener)
    try:
        yield bare
    finally:
        bare.close()


ROWS = (
    Row(
        "guest",
        (Line("guest", "attach to mounted in a virtual machine", "QMP add, device seen, mount(2)", Goal(1.5)),),
        attach,
        80.0,
        "slow",
        ("guest",),
    ),
)
