"""What becomes of an open intent: every change, with everything that its task may say and that may be seen."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from uuid import UUID

import pytest

from vmdkvol.names import DatastoreName
from vmdkvol.options import CreateOptions
from vmdkvol.volume import DEFAULT_VMGROUP, Content, DiskUuid, State, VmId, VolumeId
from vmdkvol_esx.ports import (
    AttachDisk,
    Change,
    ChangePolicy,
    CloneDisk,
    CreateDisk,
    DeleteDisk,
    DetachDisk,
    DiskPath,
    DiskRef,
    GrowDisk,
)
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.settling import Seen, Step, Told, decide, when_done

REF = DiskRef(DiskUuid(UUID(int=1)), DiskPath(DatastoreName("ds1"), "vmdkvol/g/db-1.vmdk"))
SOURCE = DiskRef(DiskUuid(UUID(int=2)), DiskPath(DatastoreName("ds1"), "vmdkvol/g/src-2.vmdk"))
VM = VmId(UUID(int=10))
CHANGES: dict[str, Change] = {
    "create": CreateDisk(REF, 1 << 20, "thin", {}),
    "clone": CloneDisk(SOURCE, REF, "thin", {}),
    "delete": DeleteDisk(REF),
    "attach": AttachDisk(VM, REF, "independent_persistent"),
    "detach": DetachDisk(VM, REF),
    "grow": GrowDisk(REF, 2 << 20),
    "policy": ChangePolicy(REF, "gold"),
}
F, U, G, A = Step.FINISH, Step.UNDO, Step.GO_ON, Step.ASK
#                     there absent elsewhere broken unknown
SETTLED = {
    "create": {Told.NOTHING: (F, U, A, U, A), Told.SUCCEEDED: (F, U, A, U, A), Told.FAILED: (U, U, A, U, A)},
    "clone": {Told.NOTHING: (F, U, A, U, A), Told.SUCCEEDED: (F, U, A, U, A), Told.FAILED: (U, U, A, U, A)},
    "delete": {Told.NOTHING: (G, F, A, G, A), Told.SUCCEEDED: (G, F, A, G, A), Told.FAILED: (G, F, A, G, A)},
    "attach": {Told.NOTHING: (F, U, U, U, A), Told.SUCCEEDED: (F, U, U, U, A), Told.FAILED: (F, U, U, U, A)},
    "detach": {Told.NOTHING: (G, F, F, F, A), Told.SUCCEEDED: (U, F, F, F, A), Told.FAILED: (U, F, F, F, A)},
    "grow": {Told.NOTHING: (F, U, U, G, A), Told.SUCCEEDED: (F, U, U, U, A), Told.FAILED: (F, U, U, U, A)},
    "policy": {Told.NOTHING: (F, U, U, G, A), Told.SUCCEEDED: (F, U, U, F, A), Told.FAILED: (F, U, U, U, A)},
}
ROWS = [
    pytest.param(kind, told, seen, step, id=f"{kind}-{told}-{seen}")
    for kind, rows in SETTLED.items()
    for told, steps in rows.items()
    for seen, step in zip(Seen, steps, strict=True)
]


@pytest.mark.parametrize(("kind", "told", "seen", "expected"), ROWS)
def test_an_ended_task_is_settled_by_what_is_seen(kind: str, told: Told, seen: Seen, expected: Step) -> None:
    assert decide(CHANGES[kind], told, seen) is expected


@pytest.mark.parametrize("seen", list(Seen))
@pytest.mark.parametrize("kind", list(CHANGES))
def test_a_running_task_is_waited_for(kind: str, seen: Seen) -> None:
    assert decide(CHANGES[kind], Told.RUNNING, seen) is Step.WAIT


def test_the_table_has_every_row() -> None:
    rows = {(kind, told, seen) for kind in CHANGES for told in SETTLED[kind] for seen in Seen}
    assert rows == set(product(CHANGES, set(Told) - {Told.RUNNING}, Seen))


@pytest.mark.parametrize(("kind", "told"), list(product(CHANGES, Told)))
def test_what_cannot_be_seen_is_never_undone(kind: str, told: Told) -> None:
    assert decide(CHANGES[kind], told, Seen.UNKNOWN) in (Step.ASK, Step.WAIT)


@pytest.mark.parametrize("told", list(Told))
@pytest.mark.parametrize("kind", ["create", "clone", "delete"])
def test_nothing_deletes_a_disk_that_is_not_ours(kind: str, told: Told) -> None:
    assert decide(CHANGES[kind], told, Seen.ELSEWHERE) in (Step.ASK, Step.WAIT)


RECORD = VolumeRecord(
    id=VolumeId(UUID(int=3)),
    vmgroup=DEFAULT_VMGROUP,
    name="db",
    datastore=REF.path.datastore,
    path=REF.path.path,
    disk_uuid=REF.uuid,
    size_bytes=1 << 20,
    state=State.PREPARING,
    content=Content.UNFORMATTED,
    filesystem_uuid=None,
    options=CreateOptions(),
    generation=1,
    created_at=0.0,
    created_by="host-a",
)
READY = replace(RECORD, state=State.READY)
GOLD = replace(CreateOptions(), policy="gold", given=frozenset({"policy"}))


@pytest.mark.parametrize(
    ("kind", "before", "expected"),
    [
        pytest.param("create", RECORD, READY, id="a-created-volume-is-ready"),
        pytest.param("clone", RECORD, READY, id="a-clone-is-ready"),
        pytest.param("delete", replace(RECORD, state=State.REMOVING), None, id="a-deleted-volume-is-gone"),
        pytest.param("attach", READY, replace(READY, last_vm=VM), id="an-attach-names-its-vm"),
        pytest.param("detach", replace(READY, last_vm=VM), READY, id="a-detach-clears-the-suspicion"),
        pytest.param("grow", READY, replace(READY, size_bytes=2 << 20), id="a-disk-that-grew-has-its-new-size"),
        pytest.param("policy", READY, replace(READY, options=GOLD), id="a-policy-that-was-laid-on-is-as-one-that-was-given"),
    ],
)
def test_the_record_follows_the_change(kind: str, before: VolumeRecord, expected: VolumeRecord | None) -> None:
    assert when_done(CHANGES[kind], before) == expected
