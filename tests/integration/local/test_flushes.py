"""What was answered survives a loss of power: the order of writes, flushes and renames, as strace sees it (faults 7.11).

A file has its bytes on the disk before it gets its name, and its directory is flushed before anybody is answered.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

_CALLS = (
    "openat,write,pwrite64,writev,pwritev,ftruncate,fallocate,copy_file_range,fsync,fdatasync,"
    "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat"
)
_LINE = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += \d")
_NAMED = re.compile(r'(?:(?:-?\d+|AT_FDCWD)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"^(\d+)<([^>]*)>")
_WRITES = {"write", "pwrite64", "writev", "pwritev", "ftruncate", "fallocate", "copy_file_range"}

# Each says with ``answer`` what it has done: from then on it must survive.
_BEGIN = """
import os, sys
from pathlib import Path
from uuid import UUID, uuid4
from vmdkvol.clock import SystemClock
place = Path(sys.argv[1])
def answer(what): os.write(1, what.encode())
"""
_DISKS = """
from tests.contract.hypervisor_benches import BIG, MIB, VM_A, new_disk
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.local.hypervisor import LocalHypervisor
from vmdkvol_esx.ports import CloneDisk, CreateDisk, DeleteDisk
hypervisor = LocalHypervisor([LocalDatastore(BIG, str(place))], [VM_A], SystemClock())
def do(change, what):
    assert hypervisor.submit(change, uuid4()) is None
    answer(what)
disk, clone = new_disk(), new_disk()
"""
_CHANGES = f"""{_BEGIN}{_DISKS}
do(CreateDisk(disk, 4 * MIB, "thin", {{}}), "thin")
do(CreateDisk(new_disk(), 4 * MIB, "eagerzeroedthick", {{}}), "thick")
do(CloneDisk(disk, clone, "thin", {{}}), "clone")
hypervisor.write_sidecar(clone.path, b"old")
answer("sidecar")
hypervisor.write_sidecar(clone.path, b"new")
answer("sidecar again")
do(DeleteDisk(clone), "delete")
"""
_DATABASE = f"""{_BEGIN}
from tests.contract.store_benches import ready, raised
from vmdkvol_esx.store import open_store
store = open_store(place / "vmdkvol.db", SystemClock())
answer("open")
record = ready(store)
answer("ready")
store.update(raised(record), expect=1)
answer("update")
store.keep_answer(UUID(int=1), UUID(int=2), b"answer")
answer("answer")
"""
_NOTEBOOK = f"""{_BEGIN}
from vmdkvol.volume import VolumeId
from vmdkvol_guest.notebook import SqliteNotebook
# The catalogue lies elsewhere: the service tells again what a loss of power took of it.
notebook = SqliteNotebook(place / "run", place.parent / "state", "boot")
answer("open")
notebook.hold(VolumeId(UUID(int=1)), "4f1c")
answer("hold")
notebook.drop(VolumeId(UUID(int=1)), "4f1c")
answer("drop")
"""


@dataclass(slots=True)
class Power:
    """What a loss of power would take: bytes of files, and names in directories. ``wrong`` is what must not have been."""

    place: str
    bytes: set[str] = field(default_factory=set)
    names: dict[str, set[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    def see(self, call: str, arguments: str) -> None:
        if call == "openat" and "O_CREAT" in arguments:
            self._changed(*_paths(arguments))
        elif call.startswith("rename"):
            old, new = _paths(arguments)
            if old in self.bytes:
                self.wrong.append(f"{old} is renamed to {new} before its bytes are on the disk")
            self._changed(new)
        elif call.startswith(("unlink", "mkdir")):
            (path,) = _paths(arguments)
            self.bytes.discard(path)
            self._changed(path)
        elif call in _WRITES:
            self._wrote(arguments)
        elif call in ("fsync", "fdatasync"):
            self._flushed(arguments)

    def _wrote(self, arguments: str) -> None:
        descriptor = _DESCRIPTOR.match(arguments)
        assert descriptor is not None
        number, path = descriptor.groups()
        if number == "1":
            self._answered(arguments.split('"')[1])
        elif path.startswith(self.place) and not path.endswith("-shm"):
            self.bytes.add(path)

    def _flushed(self, arguments: str) -> None:
        descriptor = _DESCRIPTOR.match(arguments)
        assert descriptor is not None
        self.bytes.discard(descriptor[2])
        self.names.pop(descriptor[2], None)

    def _changed(self, path: str) -> None:
        if path.startswith(self.place):
            self.names.setdefault(os.path.dirname(path), set()).add(path)

    def _answered(self, what: str) -> None:
        self.answers.append(what)
        if self.bytes:
            self.wrong.append(f"{what} is answered, and not on the disk are {sorted(self.bytes)}")
        if self.names:
            self.wrong.append(f"{what} is answered, and directories are not flushed: {self.names}")


def _paths(arguments: str) -> list[str]:
    return [os.path.join(parent, name) for parent, name in _NAMED.findall(arguments)]


def calls(program: str, place: Path) -> Iterator[tuple[str, str]]:
    """Run the program with ``place`` as its argument; yield name and arguments of each system call that succeeded."""
    trace = place.with_suffix(".trace")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
    # -y prints the path of each descriptor, -z only what succeeded.
    strace = ["strace", "-f", "-y", "-z", "-s", "64", "-e", f"trace={_CALLS}", "-e", "signal=none", "-o", str(trace)]
    subprocess.run([*strace, sys.executable, "-c", program, str(place)], env=environment, check=True, timeout=100)
    for line in trace.read_text("utf-8", "replace").splitlines():
        found = _LINE.match(line)
        if found is not None:
            yield found[1], found[2]


def seen(program: str, place: Path) -> Power:
    place.mkdir()
    power = Power(str(place))
    for call, arguments in calls(program, place):
        power.see(call, arguments)
    return power


def test_what_the_hypervisor_answered_is_on_the_disk(tmp_path: Path) -> None:
    power = seen(_CHANGES, tmp_path / "datastore")

    assert power.answers == ["thin", "thick", "clone", "sidecar", "sidecar again", "delete"]
    assert power.wrong == []


def test_a_sidecar_is_never_written_in_place(tmp_path: Path) -> None:
    place = tmp_path / "datastore"
    place.mkdir()

    touched = {
        call
        for call, arguments in calls(_CHANGES, place)
        if re.search(r'vmdkvol\.json"', arguments) and not (call == "openat" and "O_RDONLY" in arguments)
    }

    # The last one is the deletion's.
    assert touched == {"renameat", "unlinkat"}


def test_a_commit_of_the_database_is_on_the_disk(tmp_path: Path) -> None:
    power = seen(_DATABASE, tmp_path / "state")

    assert power.answers == ["open", "ready", "update", "answer"]
    assert [wrong for wrong in power.wrong if "not on the disk" in wrong] == []


def test_a_commit_of_the_notebook_s_holders_is_on_the_disk(tmp_path: Path) -> None:
    power = seen(_NOTEBOOK, tmp_path / "notebook")

    assert power.answers == ["open", "hold", "drop"]
    assert [wrong for wrong in power.wrong if "not on the disk" in wrong] == []


def test_the_harness_sees_what_is_not_flushed(tmp_path: Path) -> None:
    """Without these the tests above could not fail."""
    program = f"""{_BEGIN}
(place / "new").write_text("bytes")
os.rename(place / "new", place / "name")
answer("done")
"""
    wrong = seen(program, tmp_path / "place").wrong

    assert len(wrong) == 3
