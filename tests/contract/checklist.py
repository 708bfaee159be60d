"""What only a real ESXi host or vCenter can show, and how. `make test-esx` prints it with what its run has shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """``tests``: those of the suite that show it on a real endpoint, all of them; none, then ``by_hand`` says what to do."""

    id: str
    says: str
    tests: tuple[str, ...] = ()
    by_hand: str = ""


CHECKLIST: tuple[Line, ...] = (
    Line(
        "create",
        "A disk of each format is made, is found by the identity that it was given, and is told with its size",
        ("test_a_created_disk_is_seen_as_it_was_asked_for", "test_a_disk_that_was_never_made_is_positively_absent"),
    ),
    Line(
        "identity",
        "SetVirtualDiskUuid takes our spelling, the device list says the same identity, and another disk is told from it",
        (
            "test_an_attached_disk_is_in_the_list_of_its_machine_only",
            "test_another_disk_in_its_place_is_not_attached",
            "test_another_disk_in_its_place_is_not_deleted",
        ),
    ),
    Line(
        "sizes",
        "The datastore's browser tells what thin and thick disks take",
        ("test_a_thin_disk_takes_no_room_and_a_thick_one_all_of_it",),
    ),
    Line("one writer", "A second machine is refused the disk", ("test_a_disk_belongs_to_one_machine_at_a_time",)),
    Line(
        "idempotent",
        "Attach, detach, create and delete that are done already are success",
        (
            "test_attaching_twice_gives_the_same_address",
            "test_detaching_twice_is_fine",
            "test_deleting_what_is_absent_is_fine",
        ),
    ),
    Line(
        "many",
        "Twenty disks on one machine, attached at the same time, on more than one controller",
        ("test_twenty_disks_are_attached_at_the_same_time",),
    ),
    Line("locked", "An attached disk is neither deleted nor copied", ("test_an_attached_disk_is_not_deleted",)),
    Line(
        "copy",
        "A copy has an identity of its own",
        ("test_a_clone_that_is_there_already_is_success_though_the_source_is_in_use",),
    ),
    Line(
        "sidecars",
        "Files are put beside disks over HTTPS and replaced as a whole",
        ("test_a_sidecar_is_read_as_it_was_last_written", "test_a_deleted_disk_is_gone_with_its_sidecar"),
    ),
    Line("guest", "The guest finds the disk by wwn-0x and its identity", by_hand="ls -l /dev/disk/by-id in the VM"),
    Line("bytes", "What a container wrote is there after a detach and on another VM", by_hand="the quickstart, on two VMs"),
    Line("batch", "A batch with one bad disk changes nothing", by_hand="attach a deleted disk's path beside a good one"),
    Line(
        "held",
        "A disk that another running VM holds is refused before any reconfigure; what ESXi says otherwise",
        by_hand="attach a disk by the vSphere Client, then mount its volume on the other VM",
    ),
    Line(
        "destroyed",
        "Disks attached to a VM that is deleted are deleted with it, or not",
        by_hand="delete a powered-off VM with a disk that is no volume",
    ),
    Line("off", "A VM that is powered off loses our disks within a minute", by_hand="power off a VM with a mounted volume"),
    Line("host lost", "A disconnected host is not proof; HA's restart elsewhere is", by_hand="isolate a host of an HA cluster"),
    Line("vMotion", "A running VM with volumes migrates, and the record follows", by_hand="migrate it, storage too"),
    Line("snapshot", "A VM snapshot leaves independent disks alone; in the way, it is named", by_hand="take one"),
    Line("policy", "A disk is made under the policy that was named, and is compliant", by_hand="look at the disk's compliance"),
    Line(
        "policy laid on",
        "`policy apply` of a mounted volume: the disk's policy and compliance in vCenter, and the privilege that it asks for",
        by_hand="vmdkvol policy apply, as the account with and without StorageProfile.Apply; then policy volumes",
    ),
    Line(
        "policy at attach",
        "An attach that names a policy is seen in the policy service at once; with one that fits not, or is gone, "
        "the disk comes without it; which fault vCenter has for that",
        by_hand="apply to a volume that is not mounted, mount it, inspect; then with a policy of another datastore's tag",
    ),
    Line(
        "policy unset",
        "The default spec leaves a disk under its datastore's own policy, and vCenter tells that one",
        by_hand="vmdkvol policy unset on vSAN and on VMFS, then look at the disk",
    ),
    Line("iops", "An IOPS limit is enforced", by_hand="fio in the guest with -o iops-limit=100"),
    Line("vSAN", "The top folder is made by the namespace manager, and thick formats are refused or mapped", by_hand="on vSAN"),
    Line("NFS", "Disks on an NFS datastore are made, attached and deleted", by_hand="name one first in the settings"),
    Line("full", "On a full datastore nothing half-made stays", by_hand="fill one"),
    Line("role", "The documented role suffices, and less does not", by_hand="vmdkvol-esxd doctor, as that account"),
    Line("names", "Datastores and folders with spaces, brackets, percent signs and Unicode", by_hand="rename a datastore"),
    Line("units", "How many units a PVSCSI controller of this hardware version has", by_hand="attach 16 disks to one"),
    Line("restart", "vCenter restarts in mid-task and the volume is settled", by_hand="reboot vCenter while a clone is made"),
    Line(
        "context id",
        "A VM's VMCI context id: its sign, and whether another VM gets it after a power-off",
        by_hand="read the VMCI device of running VMs, restart some, read again",
    ),
    Line(
        "relay",
        "What a part on the host would find: Python of 8.x and 9.x, a local login as dcui, scripts under execInstalledOnly",
        by_hand="on the host's console; nothing of vmdkvol needs it yet",
    ),
    Line(
        "first-class",
        "How many snapshots a first-class disk takes",
        by_hand="nothing of vmdkvol makes them yet",
    ),
)
