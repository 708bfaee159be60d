"""Where each promise of Hypervisor is shown, and why not where it is not: what the parametrisation leaves out, it says here.

``python -m tests.reference`` writes it into docs/reference/proven.md.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

SUITE = Path(__file__).with_name("test_hypervisor.py")


class Where(StrEnum):
    """Where the suite runs.

    ``REAL`` is an endpoint of somebody's own, by `make test-esx` alone; ``QEMU`` are virtual machines, by `make test-system`.
    """

    SIMULATED = "simulated"
    LOCAL = "local"
    VCENTER = "vcenter"
    ESXI = "esxi"
    STRICT = "strict"
    REAL = "real"
    QEMU = "qemu"


# What `make test` runs.
EVERYWHERE = (Where.SIMULATED, Where.LOCAL, Where.VCENTER, Where.ESXI, Where.STRICT)
LENIENT = (Where.VCENTER, Where.ESXI)
VSPHERE = (*LENIENT, Where.STRICT, Where.REAL)

_SIZES = "the simulator's library tells no size of a disk, and takes disks of any size"
_ACT = "wants an act that the library does not mind, such as a datastore that cannot be written"
_LOCKS = "the library lets two machines have one disk"
_SLOW = "the library's tasks have ended when their ids are known"
_GUEST = "no vSphere server knows what a guest does with its disk: the agent proves that before it asks for a detach"
_HAND = "wants a datastore that is full, read-only, damaged or out of reach: an administrator's hand"
_BYTES = "what a guest writes to its disk is not seen through the API: a container on two VMs shows it"
_TIMED = "how long a task takes is not the suite's to say there"
_EMPTY = "a real site has machines and datastores of its own"
_EXTEND = "the library has no ExtendVirtualDisk; the strict simulator's is our own"
_ONLINE = "QEMU tells no guest that its VMDK has grown"


def _not_by_the_library(reason: str, real: str | None = None) -> Mapping[Where, str]:
    return {**dict.fromkeys(LENIENT, reason), **({Where.REAL: real} if real else {})}


# A test that is not named runs on every bench.
LEFT_OUT: Mapping[str, Mapping[Where, str]] = {
    "test_a_thin_disk_takes_no_room_and_a_thick_one_all_of_it": _not_by_the_library(_SIZES),
    "test_a_thick_disk_that_has_no_room_leaves_nothing": _not_by_the_library(_SIZES, _HAND),
    "test_a_full_datastore_takes_not_even_a_thin_disk": _not_by_the_library(_SIZES, _HAND),
    "test_a_clone_into_a_full_datastore_is_refused_each_time_and_works_when_there_is_room": _not_by_the_library(_SIZES, _HAND),
    "test_a_disk_that_has_no_room_to_grow_keeps_its_size_and_grows_when_there_is_room": _not_by_the_library(_SIZES, _HAND),
    "test_a_full_datastore_lets_no_disk_grow": _not_by_the_library(_SIZES, _HAND),
    "test_a_disk_that_nobody_has_grows": _not_by_the_library(_EXTEND),
    "test_a_grown_disk_has_its_bytes_and_zeros_behind_them": _not_by_the_library(_EXTEND, _BYTES),
    "test_a_disk_that_grew_in_its_machine_has_its_bytes_there_and_zeros_behind_them": {
        **_not_by_the_library(_SIZES, _BYTES),
        Where.QEMU: _ONLINE,
    },
    **{
        name: {Where.QEMU: _ONLINE}
        for name in (
            "test_a_disk_grows_in_the_machine_that_has_it",
            "test_a_disk_that_grew_in_one_machine_goes_to_another",
            "test_a_disk_that_grows_to_the_size_it_has_stays_as_it_is",
            "test_a_disk_is_never_made_smaller",
        )
    },
    "test_datastores_tell_how_full_they_are": _not_by_the_library(_SIZES, _EMPTY),
    "test_a_read_only_datastore_is_not_permitted_and_unchanged": _not_by_the_library(_ACT, _HAND),
    "test_a_datastore_that_cannot_be_reached_says_nothing_about_its_disks": _not_by_the_library(_ACT, _HAND),
    "test_of_a_datastore_that_cannot_be_reached_no_traces_are_told": _not_by_the_library(_ACT, _HAND),
    "test_a_disk_belongs_to_one_machine_at_a_time": _not_by_the_library(_LOCKS),
    "test_a_disk_in_use_by_the_guest_stays_attached": dict.fromkeys((*VSPHERE, Where.QEMU), _GUEST),
    **{
        name: _not_by_the_library(_SLOW, _TIMED)
        for name in (
            "test_a_task_goes_on_after_the_deadline",
            "test_progress_rises_to_a_hundred",
            "test_a_disk_is_absent_until_its_task_has_ended",
            "test_another_change_of_the_same_disk_is_busy",
            "test_a_source_is_held_until_its_clone_has_ended",
        )
    },
    **{
        name: {Where.REAL: _HAND}
        for name in (
            "test_a_damaged_disk_is_not_absent",
            "test_a_damaged_disk_does_not_hide_the_others",
            "test_a_damaged_disk_is_not_attached",
            "test_what_is_not_the_source_is_not_cloned",
            "test_traces_are_of_whole_and_of_damaged_disks_and_of_sidecars_left_alone",
        )
    },
    **{
        name: {Where.REAL: _BYTES}
        for name in (
            "test_a_disk_that_is_created_twice_is_one_disk_with_its_content",
            "test_a_detached_disk_moves_to_another_machine_with_its_content",
            "test_a_new_disk_is_blank",
            "test_an_attached_disk_whose_deletion_was_refused_has_its_content",
            "test_a_deleted_disk_can_be_made_again_and_is_blank",
            "test_a_clone_has_its_sources_bytes_and_its_own_identity",
            "test_a_clone_and_its_source_go_separate_ways",
        )
    },
}


def shown(test: str) -> Sequence[Where]:
    """Return where a test of the suite runs."""
    return [where for where in Where if where not in LEFT_OUT.get(test, {})]


def promises() -> Iterator[tuple[str, str]]:
    """Yield the chapter and the name of each test of the suite, in their order."""
    source = SUITE.read_text(encoding="utf-8")
    chapters = {
        number: line.strip("# -").strip() for number, line in enumerate(source.splitlines(), 1) if line.startswith("# --- ")
    }
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield max((number, chapter) for number, chapter in chapters.items() if number < node.lineno)[1], node.name


_COLUMNS = {
    Where.SIMULATED: "simulated",
    Where.LOCAL: "local",
    Where.VCENTER: "vCenter",
    Where.ESXI: "ESXi",
    Where.STRICT: "strict",
    Where.REAL: "real",
    Where.QEMU: "QEMU",
}


def reasons() -> Sequence[str]:
    """Return why promises are left out somewhere, each once; the table has their numbers."""
    return list(dict.fromkeys(reason for left in LEFT_OUT.values() for reason in left.values()))


def rows() -> Iterator[tuple[str, ...]]:
    """Yield the table: a row for each promise, and where it is shown."""
    numbers = {reason: str(number) for number, reason in enumerate(reasons(), 1)}
    for chapter, test in promises():
        left = LEFT_OUT.get(test, {})
        cells = (f"no ({numbers[left[where]]})" if where in left else "yes" for where in _COLUMNS)
        yield (chapter, f"`{test.removeprefix('test_')}`", *cells)


def head() -> tuple[str, ...]:
    return ("of", "promise", *_COLUMNS.values())
