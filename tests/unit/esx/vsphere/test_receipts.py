"""What a task was started for comes back from its id, whatever the names; what is not ours is unknown."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol.errors import UnknownTask
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.ports import DiskPath, DiskRef, TaskId
from vmdkvol_esx.vsphere.receipts import Job, Receipt, parse, task_id

DISK = DiskRef(DiskUuid(UUID(int=7)), DiskPath(DatastoreName("ds 1 [ü] 50%25"), "vmdkvol/a/db-1.vmdk"))
VM = VmId(UUID(int=8))


@pytest.mark.parametrize("job", list(Job))
def test_a_receipt_comes_back_as_it_was(job: Job) -> None:
    receipt = Receipt(job, TaskId("task-12"), DISK, VM, only_off=job is Job.DETACH, size_bytes=9 if job is Job.GROW else 0)

    assert parse(task_id(receipt)) == receipt


@pytest.mark.parametrize("policy", ['gold "50%" ü', "", None])
def test_so_does_the_policy_that_a_disk_comes_under(policy: str | None) -> None:
    receipt = Receipt(Job.POLICY, TaskId("task-12"), DISK, VM, policy=policy)

    assert parse(task_id(receipt)) == receipt


@given(datastore=st.text(), path=st.text(), task=st.text(min_size=1))
def test_any_name_comes_back(datastore: str, path: str, task: str) -> None:
    receipt = Receipt(Job.CREATE, TaskId(task), DiskRef(DISK.uuid, DiskPath(DatastoreName(datastore), path)))

    assert parse(task_id(receipt)) == receipt


def test_two_disks_that_share_a_task_have_two_receipts() -> None:
    other = DiskRef(DiskUuid(UUID(int=9)), DISK.path)

    ids = {task_id(Receipt(Job.ATTACH, TaskId("task-12"), disk, VM)) for disk in (DISK, other)}

    assert len(ids) == 2


@pytest.mark.parametrize(
    "text",
    [
        "task-12",
        "",
        "{}",
        "null",
        "12",
        '["create"]',
        '["create","","00000000-0000-0000-0000-000000000007","ds","p",null,false]',
        '["made","t","00000000-0000-0000-0000-000000000007","ds","p",null,false]',
        '["create","t","7","ds","p",null,false]',
        '["create","t",7,"ds","p",null,false]',
        '["create","t","00000000-0000-0000-0000-000000000007",1,"p",null,false]',
        '["attach","t","00000000-0000-0000-0000-000000000007","ds","p",5,false]',
        '["attach","t","00000000-0000-0000-0000-000000000007","ds","p",null,false,1024]',
        '["grow","t","00000000-0000-0000-0000-000000000007","ds","p",null,false]',
        '["policy","t","00000000-0000-0000-0000-000000000007","ds","p",null,false]',
        '["policy","t","00000000-0000-0000-0000-000000000007","ds","p",null,false,5]',
        '["policy","t","00000000-0000-0000-0000-000000000007","ds","p",null,false,"gold","silver"]',
        '["attach","t","00000000-0000-0000-0000-000000000007","ds","p",null,false,"gold"]',
        '["grow","t","00000000-0000-0000-0000-000000000007","ds","p",null,false,0]',
        '["grow","t","00000000-0000-0000-0000-000000000007","ds","p",null,false,true]',
        '["grow","t","00000000-0000-0000-0000-000000000007","ds","p",null,false,1024,1]',
    ],
)
def test_what_is_no_receipt_is_an_unknown_task(text: str) -> None:
    with pytest.raises(UnknownTask):
        parse(TaskId(text))


@given(text=st.text())
def test_no_text_breaks_it(text: str) -> None:
    try:
        parse(TaskId(text))
    except UnknownTask:
        return
    raise AssertionError("no text of chance is a receipt")
