"""Storage policies of directories, on real files: what is demanded is read off the disk."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.errors import InvalidOption, PolicyNotFound
from vmdkvol.names import DatastoreName
from vmdkvol.policy_messages import Compliance
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.local.datastore import DatastoreFiles, LocalDatastore
from vmdkvol_esx.local.policies import NOTE, Policies
from vmdkvol_esx.ports import DiskPath, DiskRef
from vmdkvol_esx.storage_policies import Followed, LocalPolicy

MIB = 1 << 20
DS1 = DatastoreName("ds1")


class Shelf:
    """A datastore, and the policies that there are."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = DatastoreFiles(LocalDatastore(DS1, str(directory)))
        self.book = [LocalPolicy("any"), LocalPolicy("thick", diskformat="thick"), LocalPolicy("thin", diskformat="thin")]
        self.policies = Policies(lambda: tuple(self.book), HandClock(), lambda path: self.files)

    def made(self, *, policy: str | None, thin: bool, allocated: int = MIB) -> DiskRef:
        ref = DiskRef(DiskUuid(uuid4()), DiskPath(DS1, f"vmdkvol/g/{uuid4()}.vmdk"))

        def fill(extent: int) -> None:
            os.truncate(extent, MIB)
            if allocated:
                os.posix_fallocate(extent, 0, allocated)

        self.files.create(ref, MIB, thin, {} if policy is None else {NOTE: policy}, fill)
        return ref

    def stands(self, ref: DiskRef) -> Followed:
        found = self.policies.followed([ref])[ref.uuid]
        assert isinstance(found, Followed)
        return found


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.mark.parametrize(
    ("policy", "thin", "compliance"),
    [
        ("any", True, Compliance.COMPLIANT),
        ("any", False, Compliance.COMPLIANT),
        ("thin", True, Compliance.COMPLIANT),
        ("thin", False, Compliance.NOT_COMPLIANT),
        ("thick", True, Compliance.NOT_COMPLIANT),
        ("thick", False, Compliance.COMPLIANT),
        ("gone", False, Compliance.UNKNOWN),
        (None, True, Compliance.NOT_APPLICABLE),
    ],
)
def test_a_disk_stands_as_its_descriptor_and_its_blocks_say(
    shelf: Shelf, policy: str | None, thin: bool, compliance: Compliance
) -> None:
    found = shelf.stands(shelf.made(policy=policy, thin=thin))
    assert (found.policy, found.compliance) == (policy, compliance)
    assert bool(found.reason) == (compliance in (Compliance.NOT_COMPLIANT, Compliance.UNKNOWN))


def test_a_thick_disk_with_holes_does_not_comply(shelf: Shelf) -> None:
    found = shelf.stands(shelf.made(policy="thick", thin=False, allocated=MIB // 2))
    assert (found.compliance, found.reason) == (Compliance.NOT_COMPLIANT, "512kb of the disk are not allocated")


def test_disks_that_are_gone_or_damaged_say_nothing_and_the_others_do(shelf: Shelf) -> None:
    whole, broken = shelf.made(policy="any", thin=True), shelf.made(policy="any", thin=True)
    (shelf.directory / broken.path.path).write_bytes(b"no descriptor")
    absent = DiskRef(DiskUuid(uuid4()), DiskPath(DS1, "vmdkvol/g/absent.vmdk"))
    assert shelf.policies.followed([broken, absent, whole]).keys() == {whole.uuid}


def test_no_policy_is_always_fine_and_an_unknown_one_never(shelf: Shelf) -> None:
    shelf.policies.check(None, "thin")
    with pytest.raises(PolicyNotFound) as refused:
        shelf.policies.check("gold", "thin")
    assert refused.value.remedy == "known: any, thick, thin"


@pytest.mark.parametrize(
    ("policy", "diskformat", "fits"),
    [
        ("any", "thin", True),
        ("any", "eagerzeroedthick", True),
        ("thin", "thin", True),
        ("thin", "zeroedthick", False),
        ("thick", "thin", False),
        ("thick", "zeroedthick", True),
        ("thick", "eagerzeroedthick", True),
    ],
)
def test_a_disk_that_a_policy_does_not_fit_is_refused(shelf: Shelf, policy: str, diskformat: str, fits: bool) -> None:
    if fits:
        shelf.policies.check(policy, diskformat)
        return
    with pytest.raises(InvalidOption, match=f"demands a {policy} disk"):
        shelf.policies.check(policy, diskformat)


def test_a_policy_that_was_made_just_now_is_found(shelf: Shelf) -> None:
    shelf.book.append(LocalPolicy("gold", "new"))
    shelf.policies.check("gold", "thin")
    assert shelf.policies.known().descriptions["gold"] == "new"
