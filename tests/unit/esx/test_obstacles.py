"""A disk of somebody's is left alone for what its place and its neighbours tell, and for nothing else."""

from __future__ import annotations

import pytest

from vmdkvol_esx.obstacles import is_descriptor, of_neighbours, of_place


@pytest.mark.parametrize(
    "name",
    [
        "x-flat.vmdk",
        "x-delta.vmdk",
        "x-000001-sesparse.vmdk",
        "x-rdm.vmdk",
        "x-rdmp.vmdk",
        "x-ctk.vmdk",
        "x-s001.vmdk",
        "x-f002.vmdk",
        ".vmdk",
        "x.vmx",
        "x.vmdk.lck",
        "x.VMDK",
    ],
)
def test_what_is_no_descriptor(name: str) -> None:
    assert not is_descriptor(name)


@pytest.mark.parametrize("name", ["x.vmdk", "x-000001.vmdk", "flat.vmdk", "a b.vmdk", "-.vmdk", "x-s01.vmdk"])
def test_what_is_a_descriptor(name: str) -> None:
    assert is_descriptor(name)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("vmdkvol/g/x.vmdk", "orphans"),
        ("dockvols/1111/x.vmdk", "vDVS"),
        ("DockVols/1111/x.vmdk", "vDVS"),
        ("fcd/1.vmdk", "first-class"),
        ("catalog/x.vmdk", "first-class"),
        ("kubevols/x.vmdk", "Kubernetes"),
        ("contentlib-1/x.vmdk", "content library"),
        (".dvsData/x.vmdk", "system"),
        ("a/.snapshot/x.vmdk", "system"),
    ],
)
def test_a_place_that_is_somebody_s(path: str, told: str) -> None:
    assert told in of_place(path)


@pytest.mark.parametrize("path", ["x.vmdk", "databases/x.vmdk", "a/fcd/x.vmdk", "a/vmdkvol/x.vmdk", "vmdkvol.vmdk", "fcd.vmdk"])
def test_a_place_of_which_nothing_is_known(path: str) -> None:
    assert of_place(path) == ""


@pytest.mark.parametrize(
    ("name", "around", "told"),
    [
        pytest.param("x.vmdk", ["web.vmx"], "web.vmx", id="a-machine-s-folder"),
        pytest.param("x.vmdk", ["web.VMX"], "web.VMX", id="a-machine-s-folder-in-capitals"),
        pytest.param("x.vmdk", ["web.vmtx"], "web.vmtx", id="a-template-s-folder"),
        pytest.param("x-000001.vmdk", [], "child", id="a-snapshot-s-child"),
        pytest.param("x.vmdk", ["x-000002.vmdk"], "x-000002.vmdk", id="a-snapshot-s-parent"),
        pytest.param("x.vmdk", ["x-delta.vmdk"], "snapshot", id="a-delta"),
        pytest.param("x.vmdk", ["x-sesparse.vmdk"], "snapshot", id="a-sparse-delta"),
        pytest.param("x.vmdk", ["x-rdm.vmdk"], "raw device", id="a-raw-device"),
        pytest.param("x.vmdk", ["x-rdmp.vmdk"], "raw device", id="a-raw-device-in-physical-mode"),
        pytest.param("x.vmdk", ["x.vmdkvol.json"], "vmdkvol", id="a-volume-of-another-service"),
        pytest.param("x.vmdk", ["x.vmdkvol.label"], "vmdkvol", id="another-service-s-label"),
        pytest.param("x.vmdk", ["x.vmdk.deleting"], "vmdkvol", id="a-deletion-under-way"),
        pytest.param("x.vmdk", ["x-0123456789abcdef.vmfd"], "vDVS", id="a-volume-of-vdvs"),
        pytest.param("x.vmdk", ["x.vmdk.lck"], "locked", id="locked-by-workstation"),
    ],
)
def test_a_disk_that_is_part_of_something_else(name: str, around: list[str], told: str) -> None:
    assert told in of_neighbours(name, [name, *around])


@pytest.mark.parametrize(
    "around",
    [
        ["x-flat.vmdk", "x-ctk.vmdk"],
        ["xy-000001.vmdk", "xy.vmdkvol.json", "xy-rdm.vmdk", "y-0123456789abcdef.vmfd"],
        ["x-0001.vmdk", "x-0000001.vmdk"],
        ["notes.vmx.txt"],
    ],
)
def test_a_disk_beside_other_disks_is_its_own(around: list[str]) -> None:
    assert of_neighbours("x.vmdk", ["x.vmdk", *around]) == ""
