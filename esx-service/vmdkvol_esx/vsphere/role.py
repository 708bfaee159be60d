"""What the service's account may do, and which call needs it: the one table behind the roles, `doctor` and the docs. Pure.

Nothing else is granted; whatever would let the account do more than its work stands in ``TOO_MUCH``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Place(StrEnum):
    """To which objects a role is bound: the smallest that do."""

    ROOT = "the root folder, with all below it"
    DATASTORE = "each datastore of the settings"
    MACHINE = "each Docker host's virtual machine"


@dataclass(frozen=True, slots=True)
class Need:
    """One privilege. ``call``: what of the vSphere API asks for it; ``why``: what the service does with that.

    ``vcenter``: only vCenter has it. ``objects``: only for datastores that are object stores (vSAN, vVols). ``without``:
    what is not possible when it is missing; empty if nothing is.
    """

    privilege: str
    place: Place
    call: str
    why: str
    vcenter: bool = False
    objects: bool = False
    without: str = ""


_SEEING = "RetrievePropertiesEx, FindByUuid, CreateContainerView, WaitForUpdatesEx"
NEEDS: tuple[Need, ...] = (
    Need("System.Anonymous", Place.ROOT, "RetrieveServiceContent, Login", "Every role has it."),
    Need("System.View", Place.ROOT, _SEEING, "See that machines, datastores and tasks are there."),
    Need(
        "System.Read",
        Place.ROOT,
        _SEEING,
        "Read the device lists of all machines: one that is not seen could have a disk that is then attached twice.",
    ),
    Need(
        "StorageProfile.View",
        Place.ROOT,
        "PbmQueryProfile, PbmRetrieveContent, PbmCheckRequirements, PbmQueryDefaultRequirementProfile, "
        "PbmQueryAssociatedProfiles, PbmFetchComplianceResult",
        "Find a storage policy by its name, put disks under it, and tell how they stand to it.",
        vcenter=True,
        without="-o policy",
    ),
    Need(
        "Datastore.AllocateSpace",
        Place.DATASTORE,
        "CreateVirtualDisk_Task, CopyVirtualDisk_Task",
        "Make disks and clones.",
    ),
    Need(
        "Datastore.Browse",
        Place.DATASTORE,
        "SearchDatastore_Task, SearchDatastoreSubFolders_Task, GET /folder, ReconfigVM_Task",
        "List our folder, read sidecars, attach a disk that lies there.",
    ),
    Need(
        "Datastore.FileManagement",
        Place.DATASTORE,
        "CreateVirtualDisk_Task, DeleteVirtualDisk_Task, ExtendVirtualDisk_Task, SetVirtualDiskUuid, MakeDirectory, "
        "MoveDatastoreFile_Task, DeleteDatastoreFile_Task, PUT /folder",
        "Make, enlarge and remove disks, their folder and their sidecars.",
    ),
    Need(
        "Datastore.Config",
        Place.DATASTORE,
        "DatastoreNamespaceManager.CreateDirectory",
        "Make our folder at the top of a vSAN or vVols datastore.",
        objects=True,
    ),
    Need(
        "VirtualMachine.Config.AddExistingDisk",
        Place.MACHINE,
        "ReconfigVM_Task, a disk added",
        "Attach.",
    ),
    Need(
        "VirtualMachine.Config.RemoveDisk",
        Place.MACHINE,
        "ReconfigVM_Task, a disk removed, its file kept",
        "Detach.",
    ),
    Need(
        "VirtualMachine.Config.AddRemoveDevice",
        Place.MACHINE,
        "ReconfigVM_Task, a PVSCSI controller added",
        "Attach when all controllers are full, or there is none.",
        without="more disks than the controllers that are there take",
    ),
    Need(
        "VirtualMachine.Config.DiskExtend",
        Place.MACHINE,
        "ReconfigVM_Task, a disk's capacity raised",
        "Enlarge a disk that a machine has.",
        without="enlarging a disk that is attached",
    ),
    Need(
        "VirtualMachine.Config.Resource",
        Place.MACHINE,
        "ReconfigVM_Task, storageIOAllocation of a disk added",
        "Limits and shares of IOPS.",
        without="-o iops-limit and -o shares",
    ),
)
# Asked of the root folder: an account with one of them is an administrator's, and whoever gets its password is one too.
TOO_MUCH = (
    "Authorization.ModifyPermissions",
    "Host.Config.Storage",
    "VirtualMachine.Inventory.Delete",
    "VirtualMachine.Interact.PowerOff",
)


@dataclass(frozen=True, slots=True)
class Role:
    """A role as it is made: for one place, and for object stores or not."""

    name: str
    place: Place
    privileges: tuple[str, ...]
    objects: bool = False


def needs(place: Place, *, vcenter: bool, objects: bool = False) -> Sequence[Need]:
    """Return what is needed there on such a server, and on such a datastore."""
    return [need for need in NEEDS if need.place is place and (vcenter or not need.vcenter) and (objects or not need.objects)]


def roles(*, vcenter: bool) -> Sequence[Role]:
    """Return the roles of a vCenter, or of a single ESXi host. Each has the three of System, which any role gets anyway."""
    shapes = [
        ("vmdkvol-root", Place.ROOT, False),
        ("vmdkvol-datastore", Place.DATASTORE, False),
        ("vmdkvol-object-store", Place.DATASTORE, True),
        ("vmdkvol-machine", Place.MACHINE, False),
    ]
    system = tuple(need.privilege for need in NEEDS if need.privilege.startswith("System."))
    return [
        Role(
            name,
            place,
            (
                *system,
                *(need.privilege for need in needs(place, vcenter=vcenter, objects=objects) if need.privilege not in system),
            ),
            objects,
        )
        for name, place, objects in shapes
        if vcenter or not objects
    ]
