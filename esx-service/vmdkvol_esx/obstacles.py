"""Why a disk that somebody else made must be left alone, as its place and the files around it tell. Pure.

What is said here is words for an administrator: a reason, and what can be done about it.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from vmdkvol_esx.paths import FOLDER

# Files of a disk that are no descriptor: extents, deltas, raw mappings, lists of changed blocks, pieces.
_PARTS = re.compile(r"-(flat|delta|sesparse|rdm|rdmp|ctk|[sf][0-9]{3})\.vmdk\Z")
# The child that a snapshot of a virtual machine made beside its disk.
_CHILD = re.compile(r"-[0-9]{6}\.vmdk\Z")
# vDVS's metadata of a volume.
_VMFD = re.compile(r"-[0-9a-f]{16}\.vmfd\Z")
# A virtual machine, or a template, lies in this folder.
_MACHINES = (".vmx", ".vmtx")
_OURS = (".vmdkvol.json", ".vmdkvol.label", ".vmdk.deleting", ".vmdk.creating")
# At the top of a datastore: whose disks lie in such a folder, and who may delete them at any time.
_KEEPERS = {
    FOLDER: "it lies in vmdkvol's own folder: see `vmdkvol orphans ls`",
    "dockvols": "it is a volume of vDVS, which lists and removes what lies in dockvols: move it out of there first",
    "fcd": "it is a first-class disk, which vCenter manages",
    "catalog": "it is part of vCenter's catalogue of first-class disks",
    "kubevols": "it is a volume of Kubernetes: release it there, and move it out of kubevols first",
}


def is_descriptor(name: str) -> bool:
    """Tell whether a file of this name is a disk's descriptor, and not another one of its files."""
    return name.endswith(".vmdk") and name != ".vmdk" and _PARTS.search(name) is None


def of_place(path: str) -> str:
    """Return why what lies at this path, relative to its datastore, is nobody's to take; empty if nothing is known."""
    *folders, _ = path.split("/")
    if folders and folders[0].lower() in _KEEPERS:
        return _KEEPERS[folders[0].lower()]
    if folders and folders[0].startswith("contentlib-"):
        return "it is part of a content library"
    if any(folder.startswith(".") for folder in folders):
        return "it lies in a folder of the system's"
    return ""


def of_neighbours(name: str, around: Collection[str]) -> str:
    """Return why the disk with the descriptor ``name`` is part of something else, by the names of the files in its folder."""
    stem = name.removesuffix(".vmdk")
    machine = next((each for each in sorted(around) if each.lower().endswith(_MACHINES)), None)
    if machine is not None:
        return f"it lies in the folder of a virtual machine ({machine}): move it into a folder of its own first"
    if _CHILD.search(name):
        return "it is the child that a snapshot made of another disk"
    child = next((each for each in sorted(around) if each.startswith(f"{stem}-") and _CHILD.fullmatch(each[len(stem) :])), None)
    if child is not None:
        return f"a snapshot's disk, {child}, is made of it: consolidate the snapshots first"
    for ending, what in (("delta", "a snapshot's"), ("sesparse", "a snapshot's"), ("rdm", "a raw"), ("rdmp", "a raw")):
        if f"{stem}-{ending}.vmdk" in around:
            return f"it is {what} device mapping" if what == "a raw" else f"it is {what} disk"
    if any(f"{stem}{ending}" in around for ending in _OURS):
        return "a record of vmdkvol lies beside it: it is a volume's, of this service or of another one"
    if any(each.startswith(stem) and _VMFD.fullmatch(each[len(stem) :]) for each in around):
        return "it is a volume of vDVS, whose metadata lies beside it: move the disk into a folder of its own first"
    if f"{name}.lck" in around:
        return "it is locked by another program (a .lck beside it)"
    return ""
