"""How a disk stands, by what lies at its path and beside it: a total table."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from uuid import uuid4

import pytest

from vmdkvol.volume import DiskUuid
from vmdkvol_esx.vsphere.labels import Label
from vmdkvol_esx.vsphere.standing import Seen, Standing, standing

OURS, OTHER = DiskUuid(uuid4()), DiskUuid(uuid4())
LABELS = {
    "none": None,
    "ours": Label(OURS, 1024, "thin", {}),
    "ours-deleting": Label(OURS, 1024, "thin", {}, deleting=True),
    "other": Label(OTHER, 1024, "thin", {}),
    "other-deleting": Label(OTHER, 1024, "thin", {}, deleting=True),
}
DISKS = {
    "absent": Seen(disk=False),
    "unreadable": Seen(disk=True),
    "ours": Seen(disk=True, uuid=OURS),
    "other": Seen(disk=True, uuid=OTHER),
}
S = Standing
TABLE = {
    ("absent", "none"): S.ABSENT,
    ("absent", "ours"): S.ABSENT,
    ("absent", "ours-deleting"): S.GOING,
    ("absent", "other"): S.TAKEN,
    ("absent", "other-deleting"): S.TAKEN,
    ("unreadable", "none"): S.DAMAGED,
    ("unreadable", "ours"): S.BROKEN,
    ("unreadable", "ours-deleting"): S.BROKEN,
    ("unreadable", "other"): S.DAMAGED,
    ("unreadable", "other-deleting"): S.DAMAGED,
    ("ours", "none"): S.OURS,
    ("ours", "ours"): S.OURS,
    ("ours", "ours-deleting"): S.LEAVING,
    ("ours", "other"): S.OURS,
    ("ours", "other-deleting"): S.OURS,
    ("other", "none"): S.OTHER,
    ("other", "ours"): S.CUT,
    ("other", "ours-deleting"): S.CUT,
    ("other", "other"): S.OTHER,
    ("other", "other-deleting"): S.OTHER,
}


def test_the_table_has_every_row() -> None:
    assert TABLE.keys() == set(product(DISKS, LABELS))
    assert set(TABLE.values()) == set(Standing)


@pytest.mark.parametrize(("disk", "label"), TABLE)
def test_a_disk_stands_as_the_table_says(disk: str, label: str) -> None:
    seen = replace(DISKS[disk], label=LABELS[label])

    assert standing(OURS, seen) is TABLE[disk, label]
