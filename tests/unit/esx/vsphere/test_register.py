"""Who works on which disk in this process."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.errors import Busy, OutcomeUnknown, VolumeError, VolumeInUse
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.ports import AttachDisk, CloneDisk, CreateDisk, DeleteDisk, DiskPath, DiskRef, TaskId
from vmdkvol_esx.vsphere.receipts import Job, Receipt
from vmdkvol_esx.vsphere.register import DOUBT_S, Register


def ref(name: str) -> DiskRef:
    return DiskRef(DiskUuid(uuid4()), DiskPath(DatastoreName("ds1"), f"vmdkvol/{name}.vmdk"))


A, B, C = ref("a"), ref("b"), ref("c")
CREATE = CreateDisk(A, 1024, "thin", {})
CLONE = CloneDisk(A, B, "thin", {})
RECEIPT = Receipt(Job.CREATE, TaskId("task-1"), A)
COPY = Receipt(Job.CLONE, TaskId("task-2"), B)


class Server:
    """Which tasks have ended."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.over: set[str] = set()
        self.asked: list[str] = []
        self.register = Register(self.clock, self.ended)

    def ended(self, receipt: Receipt) -> bool:
        self.asked.append(receipt.task)
        return receipt.task in self.over


@pytest.fixture
def server() -> Server:
    return Server()


def test_a_disk_is_taken_until_its_work_has_ended(server: Server) -> None:
    assert server.register.begin(CREATE) is None
    with pytest.raises(Busy, match="CreateDisk"):
        server.register.begin(DeleteDisk(A))

    server.register.end(A.path)

    assert server.register.begin(DeleteDisk(A)) is None


def test_other_disks_are_free(server: Server) -> None:
    server.register.begin(CREATE)

    assert server.register.begin(DeleteDisk(C)) is None


def test_the_same_change_joins_its_task_whether_it_has_ended_or_not(server: Server) -> None:
    server.register.begin(CREATE)
    server.register.started(CREATE, RECEIPT)
    server.over.add("task-1")

    assert server.register.begin(CREATE) == RECEIPT
    assert server.asked == []


def test_the_same_change_is_busy_while_its_task_is_not_known(server: Server) -> None:
    server.register.begin(CREATE)

    with pytest.raises(Busy):
        server.register.begin(CREATE)


def test_work_that_nobody_waited_for_is_over_when_its_task_is(server: Server) -> None:
    server.register.begin(CREATE)
    server.register.started(CREATE, RECEIPT)
    with pytest.raises(Busy):
        server.register.begin(DeleteDisk(A))

    server.over.add("task-1")

    assert server.register.begin(DeleteDisk(A)) is None
    assert server.asked == ["task-1", "task-1"]


@pytest.mark.parametrize("change", [DeleteDisk(A), AttachDisk(VmId(uuid4()), A, "persistent")], ids=["delete", "attach"])
def test_what_is_being_copied_is_in_use(server: Server, change: DeleteDisk | AttachDisk) -> None:
    server.register.begin(CLONE)
    server.register.started(CLONE, COPY)

    with pytest.raises(VolumeInUse, match="being copied"):
        server.register.check(change)

    server.over.add("task-2")
    server.register.check(change)


def test_what_is_being_copied_is_copied_once_more(server: Server) -> None:
    server.register.begin(CLONE)

    assert server.register.begin(CloneDisk(A, C, "thin", {})) is None


def test_what_is_being_made_or_deleted_is_not_copied(server: Server) -> None:
    server.register.begin(DeleteDisk(A))

    with pytest.raises(Busy):
        server.register.begin(CLONE)


def test_a_check_takes_nothing(server: Server) -> None:
    server.register.check(DeleteDisk(A))

    assert server.register.begin(CREATE) is None


def test_a_disk_in_doubt_is_held_for_its_time_and_not_longer(server: Server) -> None:
    server.register.begin(CREATE)
    with pytest.raises(OutcomeUnknown), server.register.sending(CREATE):
        raise OutcomeUnknown("the answer was lost")
    server.register.release(A.path)
    for change in (CREATE, DeleteDisk(A)):
        with pytest.raises(Busy):
            server.register.begin(change)

    server.clock.sleep(DOUBT_S)

    assert server.register.begin(DeleteDisk(A)) is None


def test_a_release_ends_what_was_not_started_and_nothing_else(server: Server) -> None:
    server.register.begin(CREATE)
    server.register.release(A.path)
    assert server.register.begin(CREATE) is None
    server.register.started(CREATE, RECEIPT)
    server.register.release(A.path)

    assert server.register.begin(CREATE) == RECEIPT
    assert server.register.tasks() == {"task-1"}


def test_what_was_never_taken_is_given_back_without_harm(server: Server) -> None:
    server.register.end(A.path)
    server.register.release(A.path)


def test_a_server_that_cannot_be_asked_frees_nothing() -> None:
    def ended(receipt: Receipt) -> bool:
        raise VolumeError("away")

    register = Register(HandClock(), ended)
    register.begin(CREATE)
    register.started(CREATE, RECEIPT)

    with pytest.raises(VolumeError, match="away"):
        register.begin(DeleteDisk(A))
    assert register.begin(CREATE) == RECEIPT
