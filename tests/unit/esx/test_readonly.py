"""With a damaged database a disk can still leave its VM; everything else says why not and what to do (vdvs-facts L18)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.unit.esx.site import DS1, A, B, Site
from vmdkvol.clock import Deadline
from vmdkvol.errors import MetadataDamaged, OutcomeUnknown, StillMounted, TruthUnknown, UnknownCaller
from vmdkvol.lanes import Lanes
from vmdkvol.messages import (
    REQUESTS,
    Attach,
    Attachments,
    Call,
    CreateVolume,
    Detach,
    GetVolume,
    Hello,
    Keep,
    Lagging,
    ListAttached,
    ListVolumes,
    Mark,
    RemoveVolume,
    Renew,
    Request,
)
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Content, VmId, VolumeId, new_disk_uuid
from vmdkvol_esx import sidecar
from vmdkvol_esx.paths import copy_path, disk_path
from vmdkvol_esx.ports import CreateDisk, DetachDisk, DiskPath, DiskRef
from vmdkvol_esx.readonly import ReadOnlyRequests

VOLUME = VolumeId(UUID(int=1))
REFUSED: list[Request[object]] = [
    CreateVolume(VolumeRef.parse("db"), CreateOptions()),
    GetVolume(VolumeRef.parse("db")),
    ListVolumes(),
    RemoveVolume(VOLUME),
    Attach(VOLUME),
    Mark(VOLUME, 1, Content.FORMATTING, UUID(int=2)),
    Keep(VOLUME),
    Lagging(()),
    Renew("csr"),
]


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def degraded(site: Site) -> ReadOnlyRequests:
    return ReadOnlyRequests(site.hypervisor, Lanes(site.clock, "volume"), uuid4, site.log, "page 7 is torn")


def ask(site: Site, degraded: ReadOnlyRequests, request: Request[object], vm: VmId = A) -> object:
    return degraded.answer(request, Call(uuid4(), Deadline.after(site.clock, 60.0), vm))


@pytest.mark.parametrize("request_", REFUSED, ids=lambda request: type(request).__name__)
def test_what_needs_the_database_says_how_to_rebuild(site: Site, degraded: ReadOnlyRequests, request_: Request[object]) -> None:
    with pytest.raises(MetadataDamaged) as caught:
        ask(site, degraded, request_)
    assert "page 7 is torn; stop the service and run `vmdkvol-esxd rebuild`" in str(caught.value)


def test_the_table_has_every_request() -> None:
    assert {type(request) for request in REFUSED} | {Hello, Detach, ListAttached} == {
        kind for kind in REQUESTS if not kind.before_hello
    }


def test_agents_are_welcome(site: Site, degraded: ReadOnlyRequests) -> None:
    welcome = ask(site, degraded, Hello(1, 1, "agent", "boot"), B)
    assert getattr(welcome, "vm_name", None) == "host-b"


def test_a_disk_leaves_its_vm(site: Site, degraded: ReadOnlyRequests) -> None:
    attachment = site.attach(site.create("db").id)
    ask(site, degraded, Detach(attachment.volume, attachment.generation))
    assert site.hypervisor.truth().holders == {}


def test_a_task_is_waited_for(site: Site, degraded: ReadOnlyRequests) -> None:
    attachment = site.attach(site.create("db").id)
    site.hypervisor.takes(DetachDisk, 2.0)
    ask(site, degraded, Detach(attachment.volume, attachment.generation))
    assert site.hypervisor.truth().holders == {}


def test_an_adopted_disk_leaves_its_vm(site: Site, degraded: ReadOnlyRequests) -> None:
    ref = DiskRef(new_disk_uuid(uuid4()), DiskPath(DS1, "theirs/x.vmdk"))
    site.hypervisor.submit(CreateDisk(ref, 1 << 30, "thin", {}), uuid4())
    own = site.record(site.create("own").id)
    record = replace(own, id=VolumeId(uuid4()), name="db", disk_uuid=ref.uuid, path=ref.path.path, adopted=str(ref.path))
    site.store.enlist(record)
    site.hypervisor.write_sidecar(copy_path(record), sidecar.encode(record))
    attachment = site.attach(record.id)

    told = ask(site, degraded, ListAttached())
    assert isinstance(told, Attachments)
    assert [each.volume for each in told.attachments] == [record.id]
    ask(site, degraded, Detach(record.id, attachment.generation))

    assert site.hypervisor.truth().holders == {}


def test_another_hosts_disk_stays(site: Site, degraded: ReadOnlyRequests) -> None:
    attachment = site.attach(site.create("db").id, B)
    ask(site, degraded, Detach(attachment.volume, attachment.generation), A)
    assert site.hypervisor.truth().holders == {attachment.disk_uuid: B}


def test_other_disks_of_the_host_stay(site: Site, degraded: ReadOnlyRequests) -> None:
    first, second = site.attach(site.create("a").id), site.attach(site.create("b").id)
    ask(site, degraded, Detach(first.volume, first.generation))
    assert site.hypervisor.truth().holders == {second.disk_uuid: A}


def test_a_mounted_disk_stays(site: Site, degraded: ReadOnlyRequests) -> None:
    attachment = site.attach(site.create("db").id)
    site.hypervisor.guest_uses(attachment.disk_uuid)
    with pytest.raises(StillMounted):
        ask(site, degraded, Detach(attachment.volume, attachment.generation))


def test_what_is_not_attached_is_detached_already(site: Site, degraded: ReadOnlyRequests) -> None:
    ask(site, degraded, Detach(VOLUME, 1))


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_answer_is_settled_by_looking(site: Site, degraded: ReadOnlyRequests, done: bool) -> None:
    attachment = site.attach(site.create("db").id)
    site.hypervisor.lose_answer(done=done)
    try:
        ask(site, degraded, Detach(attachment.volume, attachment.generation))
    except OutcomeUnknown:
        assert not done
    assert bool(site.hypervisor.truth().holders) is not done


def test_an_unlisted_datastore_is_no_detach(site: Site, degraded: ReadOnlyRequests) -> None:
    attachment = site.attach(site.create("db").id)
    site.hypervisor.unreadable(DS1)
    with pytest.raises(TruthUnknown):
        ask(site, degraded, Detach(attachment.volume, attachment.generation))


def test_an_unread_list_is_no_detach(site: Site, degraded: ReadOnlyRequests) -> None:
    attachment = site.attach(site.create("db").id)
    site.hypervisor.unread(A)
    with pytest.raises(TruthUnknown):
        ask(site, degraded, Detach(attachment.volume, attachment.generation))


def test_what_is_attached_is_told_from_the_sidecars(site: Site, degraded: ReadOnlyRequests) -> None:
    attachment = site.attach(site.create("db").id)
    told = ask(site, degraded, ListAttached())
    assert isinstance(told, Attachments)
    assert [each.disk_uuid for each in told.attachments] == [attachment.disk_uuid]


def test_part_of_what_is_attached_is_never_told_as_all(site: Site, degraded: ReadOnlyRequests) -> None:
    volume = site.create("db").id
    site.attach(volume)
    site.hypervisor.write_sidecar(disk_path(site.record(volume)), b"")
    with pytest.raises(MetadataDamaged):
        ask(site, degraded, ListAttached())


def test_nothing_attached_needs_no_sidecar(site: Site, degraded: ReadOnlyRequests) -> None:
    site.hypervisor.unreadable(DS1)
    assert ask(site, degraded, ListAttached()) == Attachments(())


def test_a_caller_is_needed_here_too(site: Site, degraded: ReadOnlyRequests) -> None:
    with pytest.raises(UnknownCaller):
        degraded.answer(ListVolumes(), Call(uuid4(), Deadline.after(site.clock, 1.0), None))


def test_a_disk_that_cannot_be_read_is_not_said_to_have_left(site: Site, degraded: ReadOnlyRequests) -> None:
    attachment = site.attach(site.create("db").id)
    site.hypervisor.damage(disk_path(site.record(attachment.volume)), "its descriptor is torn")
    with pytest.raises(TruthUnknown):
        ask(site, degraded, Detach(attachment.volume, attachment.generation))


def test_the_remedy_is_the_one_for_this_database(site: Site) -> None:
    degraded = ReadOnlyRequests(
        site.hypervisor, Lanes(site.clock, "volume"), uuid4, site.log, "it is missing", remedy="put it back"
    )
    with pytest.raises(MetadataDamaged, match="it is missing; put it back"):
        ask(site, degraded, ListVolumes())
