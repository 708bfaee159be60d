"""Vmgroups over the real sockets: an administrator at the admin socket, machines at a port, disks that are attached."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.identity_site import A, B, Folder, Site, ask
from vmdkvol.errors import NotPermitted, QuotaExceeded, StaleRequest, VolumeInUse, VolumeNotFound
from vmdkvol.line import Line
from vmdkvol.messages import Attach, CreateVolume, Detach, GetVolume, ListVolumes
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.orders import Actor, Role
from vmdkvol.policy_messages import CreatePolicy, ListPolicies
from vmdkvol.vmgroup_messages import (
    AddMembers,
    CreateVmgroup,
    GetVmgroup,
    ListVmgroups,
    RemoveMembers,
    RemoveVmgroup,
    SetRight,
    UpdateVmgroup,
)
from vmdkvol.volume import VolumeInfo

pytestmark = pytest.mark.integration

DB = VolumeRef.parse("db")
MB = 1 << 20


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def machine(site: Site, name: str) -> Line:
    folder = Folder(site.root / name)
    site.enrol(folder, {"a": A, "b": B}[name])
    return site.line(folder)


def create(line: Line, ref: VolumeRef = DB, size: str = "100mb") -> VolumeInfo:
    return ask(line, CreateVolume(ref, CreateOptions.parse({"size": size})))


def names(line: Line) -> list[str]:
    return [each.name for each in ask(line, ListVolumes()).volumes]


def test_a_tenant_from_nothing(site: Site) -> None:
    admin, a, b = site.admin(), machine(site, "a"), machine(site, "b")
    made = ask(admin, CreateVmgroup(name="dev", default_datastore="ds1", vms=("a",)))
    mine, theirs = create(a), create(b)
    assert mine.id != theirs.id
    assert (ask(a, GetVolume(DB)).id, ask(b, GetVolume(DB)).id) == (mine.id, theirs.id)
    assert (str(mine.vmgroup), names(a), names(b)) == (made.subject, ["db"], ["db"])
    info = ask(admin, GetVmgroup(name="dev"))
    assert [(each.vm, each.name, each.running) for each in info.members] == [(A, "a", True)]
    assert (info.volumes, info.usage[0].used_bytes) == (1, 100 * MB)
    ask(admin, SetRight(name="dev", datastore="ds1", total_bytes=150 * MB, expect=info.revision))
    with pytest.raises(QuotaExceeded):
        create(a, VolumeRef.parse("more"))
    with pytest.raises(StaleRequest):
        ask(admin, SetRight(name="dev", datastore="ds1", total_bytes=500 * MB, expect=info.revision))


def test_a_machine_that_has_a_disk_stays_until_it_gives_it_back(site: Site) -> None:
    admin, a = site.admin(), machine(site, "a")
    ask(admin, CreateVmgroup(name="dev", default_datastore="ds1"))
    volume = create(a)
    attachment = ask(a, Attach(volume.id))
    for dry_run in (True, False):
        with pytest.raises(VolumeInUse, match="db"):
            ask(admin, AddMembers(name="dev", vms=("a",), dry_run=dry_run))
    assert names(a) == ["db"]
    ask(a, Detach(volume.id, attachment.generation))
    ask(admin, AddMembers(name="dev", vms=("a",)))
    assert names(a) == []
    for request in (GetVolume(DB), Attach(volume.id)):
        with pytest.raises(VolumeNotFound):
            ask(a, request)
    ask(admin, RemoveMembers(name="dev", vms=("a",)))
    assert names(a) == ["db"]


def test_all_of_it_is_there_after_a_restart(site: Site) -> None:
    admin = site.admin()
    ask(admin, CreateVmgroup(name="dev", default_datastore="_VM_DS", vms=("a", "b"), defaults=(("size", "1gb"),)))
    ask(admin, CreatePolicy(name="gold", description="room"))
    ask(admin, SetRight(name="dev", datastore="_ALL_DS", allow_create=False, max_bytes=MB, policies=("gold",)))
    before = ask(admin, ListVmgroups()), ask(admin, ListPolicies())
    site.restart()
    assert (ask(site.admin(), ListVmgroups()), ask(site.admin(), ListPolicies())) == before


def test_without_the_default_vmgroup_a_machine_that_is_in_none_may_nothing(site: Site) -> None:
    admin, a = site.admin(), machine(site, "a")
    ask(admin, RemoveVmgroup(name="_DEFAULT"))
    with pytest.raises(NotPermitted):
        create(a)
    site.restart()
    admin, a = site.admin(), site.line(Folder(site.root / "a"))
    with pytest.raises(NotPermitted):
        create(a)
    ask(admin, CreateVmgroup(name="_DEFAULT", default_datastore="ds1"))
    assert create(a).name == "db"


def test_a_viewer_looks_and_changes_nothing(site: Site) -> None:
    admin, viewer = site.admin(), Actor("vera", Role.VIEWER, "192.0.2.7")
    assert ask(admin, GetVmgroup(name="_DEFAULT", by=viewer)).name == "_DEFAULT"
    for role in (Role.VIEWER, Role.OPERATOR):
        for dry_run in (True, False):
            with pytest.raises(NotPermitted):
                ask(admin, UpdateVmgroup(name="_DEFAULT", description="x", by=Actor("o", role, "unix"), dry_run=dry_run))
    assert ask(admin, GetVmgroup(name="_DEFAULT")).description == ""
