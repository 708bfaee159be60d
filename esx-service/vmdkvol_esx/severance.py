"""Whether a disk may be taken from a machine by an administrator's order: who has it and what was said in, the way out. Pure.

Time alone proves nothing: a disk leaves a machine that may run on proof, or on the recorded word of a person (D11d).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from vmdkvol.admin_errors import ProofNeeded
from vmdkvol.errors import SnapshotPresent
from vmdkvol.orders import Plan, Step
from vmdkvol.volume import Content, VmId
from vmdkvol_esx.ownership import Free, HeldBy, Here, LeftBehind, Unread
from vmdkvol_esx.records import VolumeRecord

# Who has it, where that is one machine at most.
Owner = Free | Here | HeldBy | LeftBehind | Unread


@dataclass(frozen=True, slots=True)
class Severance:
    """What is done: the disk leaves ``vm`` (None: no list has it), ``only_off``: only while that one is switched off.

    ``why`` is the proof or the word that it rests on. ``loses`` is what cannot be taken back.
    """

    vm: VmId | None
    only_off: bool
    why: str
    loses: str | None = None


def decide(record: VolumeRecord, owner: Owner, name: str, word: str) -> Severance | None:
    """Return how the disk is taken; None if there is nothing to take and nobody to fence off.

    ``name`` is what the machine in question is called, ``word`` what the administrator said: its name, or its id. Raises
    ProofNeeded without proof and word, SnapshotPresent where a detach would lose what is newer than the snapshot.
    """
    match owner:
        case Free():
            return None if record.last_vm is None else Severance(None, False, "by the hypervisor's word no machine has it")
        case LeftBehind(vm=vm, device=device):
            _check_snapshot(record, name, device.snapshot)
            return Severance(vm, True, f"{name} is switched off")
        case Here(device=device):
            raise AssertionError("no machine asks, so that none is where it asks from")
        case HeldBy(vm=vm, device=device):
            _check_snapshot(record, name, device.snapshot)
            _check_word(record, vm, name, word, "has it and may use it this moment")
            return Severance(vm, False, f"by the word of who orders it, {name} does not use it", _loses(record, name))
        case Unread(vm=vm):
            _check_word(record, vm, name, word, "had it last and does not answer")
            return Severance(None, False, f"by the word of who orders it, {name} does not use it", _loses(record, name))
        case _:
            assert_never(owner)


def fenced(record: VolumeRecord) -> VolumeRecord:
    """Return the record as it stands from the moment at which the disk is taken.

    Its generation is raised, so that whatever its last machine still says is refused. What is on the disk must be checked
    in full before it is mounted, and gets a file-system UUID of its own, as a clone's does: an older agent knows that much.
    """
    raised = replace(record, generation=record.generation + 1)
    if record.content is not Content.FORMATTED or record.filesystem_uuid is None:
        return raised
    return replace(raised, filesystem_uuid=None, copied_uuids=(record.filesystem_uuid,))


def plan(record: VolumeRecord, severance: Severance, name: str) -> Plan:
    """Return what is done, as people read it."""
    steps = [
        Step("detach-volume", record.name, None if severance.vm is None else f"on {name}", f"on no machine: {severance.why}")
    ]
    steps.append(Step("raise-revision", record.name, str(record.generation), str(record.generation + 1)))
    if record.content is Content.FORMATTED:
        steps.append(Step("check-at-next-mount", record.name, None, "the whole file system"))
    return Plan(tuple(steps), severance.loses)


def _loses(record: VolumeRecord, name: str) -> str:
    return f"what {name} has not written to volume {record.name} yet; containers that use it there fail"


def _check_word(record: VolumeRecord, vm: VmId, name: str, word: str, stands: str) -> None:
    if word in (name, str(vm)):
        return
    said = "" if not word else f", and {word!r:.60} is not its name"
    raise ProofNeeded(
        f"volume {record.name}: {name} {stands}{said}",
        remedy=f"switch {name} off, or say that you know it with --i-know {name}: what it has not written is lost then",
        vm=name,
    )


def _check_snapshot(record: VolumeRecord, name: str, snapshot: str | None) -> None:
    if snapshot is not None:
        raise SnapshotPresent(f"snapshot {snapshot!r} of {name} contains volume {record.name}", snapshot=snapshot)
