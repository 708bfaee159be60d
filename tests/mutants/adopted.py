"""Defects of disks that were adopted, and of old databases that are put back."""

from __future__ import annotations

from tests.mutants.mutant import ESX, By, Mutant

_UNIT = "tests/unit/esx"
_RELEASING, _COMPARING = f"{_UNIT}/test_releasing.py", f"{_UNIT}/test_comparing.py"
_MOVED = f"{_UNIT}/test_comparing_moved.py"


def _defect(id: str, defect: str, file: str, old: str, new: str, tests: str) -> Mutant:
    # An administrator's order, or a database from a backup, is behind each: the state machine has neither.
    return Mutant(id, defect, f"{ESX}/{file}", old, new, ("I1",), (tests,), By.TESTS)


MUTANTS = (
    _defect(
        "destroy-deletes-an-adopted-disk",
        "an adopted disk's bytes are deleted with its volume",
        "removing.py",
        "        if record.adopted:\n            return self.let_go(record)\n",
        "",
        _RELEASING,
    ),
    _defect(
        "release-deletes-an-adopted-disk",
        "a disk that is given back is deleted",
        "removing.py",
        "        self._at(Point.RELEASE_CLEARED)\n",
        "        self._at(Point.RELEASE_CLEARED)\n        self._hypervisor.submit(DeleteDisk(disk_ref(record)), record.id)\n",
        _RELEASING,
    ),
    _defect(
        "adopt-says-that-nothing-is-on-the-disk",
        "the first mount makes a file system on a disk that somebody else made",
        "adopting.py",
        "            content=Content.FORMATTED,\n",
        "            content=Content.UNFORMATTED,\n",
        f"{_UNIT}/test_adopting.py",
    ),
    _defect(
        "an-old-database-gives-an-adopted-disk-back",
        "a database from a backup gives an adopted disk to whoever had it before",
        "comparing.py",
        "        other = claims.adopted_since(self._hypervisor, record, deadline)\n",
        "        other = None\n",
        _RELEASING,
    ),
    _defect(
        "a-clock-says-who-adopted-last",
        "a clock that was set back hides who has an adopted disk by now",
        "claims.py",
        "and other.id != record.id), None)\n",
        "and other.id != record.id and other.created_at > record.created_at), None)\n",
        _RELEASING,
    ),
    _defect(
        "claims-on-one-datastore",
        "who has an adopted disk by now is not seen where a machine's move took its record",
        "claims.py",
        "        if datastore.name != home and not _late(deadline):\n",
        "        if False:\n",
        _RELEASING,
    ),
    _defect(
        "before-the-first-scan-nothing-is-compared",
        "in the moments after its start an old database is believed",
        "comparing.py",
        "        if not self._doubts.is_compared(record.id):\n",
        "        if False:\n",
        _COMPARING,
    ),
    _defect(
        "a-moved-disk-leaves-what-knows-more",
        "an old database follows a disk that was moved, and the copy that knows more is removed where it lay",
        "following.py",
        "self._comparing.carry(moved, was).stands\n",
        "False\n",
        _MOVED,
    ),
    _defect(
        "a-newer-copy-is-written-over",
        "an old database writes over the copy that knows more",
        "journal.py",
        "        self._comparing.check(record)\n        self._hypervisor.write_sidecar(",
        "        self._hypervisor.write_sidecar(",
        _COMPARING,
    ),
    _defect(
        "an-old-database-goes-on-deleting",
        "a deletion that an old database had begun deletes what was taken out of the trash since",
        "journal.py",
        "                self._comparing.check(intent.before or record)\n",
        "",
        _COMPARING,
    ),
    _defect(
        "an-old-database-goes-on-detaching",
        "a detach that an old database had begun takes a mounted disk off its machine",
        "journal.py",
        "                self._comparing.check(intent.before or record)\n                self._go_on(",
        "                if isinstance(intent.change, DeleteDisk):\n"
        "                    self._comparing.check(intent.before or record)\n                self._go_on(",
        _COMPARING,
    ),
    _defect(
        "an-old-database-undoes-a-create",
        "a create that an old database had begun is undone, with the data that came since",
        "journal.py",
        "                self._comparing.check(record)\n            self._do(DeleteDisk",
        "                pass\n            self._do(DeleteDisk",
        _COMPARING,
    ),
    _defect(
        "the-later-copy-may-be-removed",
        "after an old database was put back, the only record of who has an adopted disk by now is offered for removal",
        "mending.py",
        "        return Place(path, disk, damage, record, unreadable, record is not None and self._is_later(record))\n",
        "        return Place(path, disk, damage, record, unreadable)\n",
        _RELEASING,
    ),
    _defect(
        "an-adopted-disk-that-does-not-answer-is-gone",
        "an adopted disk that a machine has, and that cannot be looked at for that, is told as lost",
        "housekeeping.py",
        "            self._absent.pop(record.id, None)\n            self._log.warning(",
        "            self._log.warning(",
        f"{_UNIT}/test_adopting.py",
    ),
    _defect(
        "a-rebuild-forgets-what-lies-under-another-disk",
        "a volume whose adopted disk was replaced is no volume after a rebuild, and Docker forgets it",
        "rebuilding.py",
        "    except (DatastoreNotFound, MetadataDamaged, SnapshotPresent, WrongDisk):\n",
        "    except (DatastoreNotFound, MetadataDamaged, SnapshotPresent):\n",
        _RELEASING,
    ),
    _defect(
        "a-machine-s-disk-without-a-name-is-nobody-s",
        "a disk that a machine has, which is off and does not say its identity, is adopted",
        "prospecting.py",
        "            if disk.path in places:\n",
        "            if False:\n",
        f"{_UNIT}/test_prospecting.py",
    ),
    _defect(
        "long-looks-take-every-worker",
        "four scans, or looks for orphans, keep every administrator waiting",
        "desk.py",
        "            if self._slow >= MOST_SLOW:\n",
        "            if False:\n",
        f"{_UNIT}/test_desk.py",
    ),
    _defect(
        "what-a-newer-version-wrote-says-nothing",
        "the trash is emptied of a volume whose copy a newer version wrote",
        "comparing.py",
        "            self._doubts.newer_version(record)\n",
        "",
        _COMPARING,
    ),
)
