"""Defects of what administrators order: copies and records, vmgroups, cordons, repeats."""

from __future__ import annotations

from tests.mutants.mutant import ESX, By, Mutant

_UNIT = "tests/unit/esx"


def _defect(id: str, defect: str, file: str, old: str, new: str, breaks: tuple[str, ...], *tests: str) -> Mutant:
    """Return what the state machine does not meet: it gives no orders."""
    return Mutant(id, defect, f"{ESX}/{file}", old, new, breaks, tests, By.TESTS)


MUTANTS = (
    _defect(
        "a-machine-is-believed-about-anothers-volume",
        "any machine can tell administrators what it likes about a volume that another one has",
        "lags.py",
        "        lag = self._told.get(record.last_vm, {}).get(record.id)\n",
        "        lag = next((lags[record.id] for lags in self._told.values() if record.id in lags), None)\n",
        ("I7",),
        f"{_UNIT}/test_lags.py::test_a_machine_is_not_believed_about_a_volume_that_another_one_has",
    ),
    _defect(
        "a-restored-volume-whose-copy-says-trash",
        "killed while a volume comes out of the trash, and rebuilt from the copies then, the service finds it in the trash",
        "custody.py",
        "        self._journal.write_sidecar(changed)\n        recorded = replace",
        "        recorded = replace",
        ("I1",),
        f"{_UNIT}/test_order_crashes.py::test_after_a_recorded_restore_a_rebuild_finds_the_volume_out_of_the_trash",
    ),
    _defect(
        "a-disk-that-was-taken-and-is-not-checked",
        "killed while a disk is taken from a machine, and rebuilt then, the service forgets to have its file system checked",
        "severing.py",
        "        copied = self._write_copy(replace(fenced, generation=record.generation))\n",
        "        copied = False\n",
        ("I1",),
        f"{_UNIT}/test_order_crashes.py::test_after_a_severance_and_a_lost_database_the_file_system_is_checked",
    ),
    _defect(
        "an-old-database-empties-the-trash",
        "a database from a backup deletes what was taken out of the trash since",
        "removing.py",
        "        self._comparing.check(record)\n        record, owner = self._owners.freed(record, None, deadline)\n        #",
        "        record, owner = self._owners.freed(record, None, deadline)\n        #",
        ("I1",),
        f"{_UNIT}/test_housekeeping.py::test_what_an_old_database_has_in_the_trash_and_was_taken_out_since_is_kept",
    ),
    _defect(
        "a-rebuild-counts-the-trash-from-when-it-was",
        "after a rebuild the trash is emptied at once of what was in it long enough by the copies",
        "rebuilding.py",
        "        trashed_at=now if state is State.TRASHED else None,\n",
        "",
        ("I1",),
        f"{_UNIT}/test_rebuilding.py::test_what_was_in_the_trash_has_its_whole_time_in_it_again",
    ),
    _defect(
        "a-machine-takes-its-volumes-disk-to-another-vmgroup",
        "a machine that has a volume of its vmgroup attached is put into another one, with the disk",
        "membership.py",
        "            for record in filter(None, (self._store.with_disk(device.uuid) for device in devices)):\n",
        "            for record in ():\n",
        ("I7",),
        f"{_UNIT}/test_vmgroups.py::test_a_machine_with_a_volumes_disk_does_not",
    ),
    _defect(
        "a-lost-vmgroup-is-no-trouble",
        "after a rebuild without the old vmgroups the status says that all is well, while no machine has its volumes",
        "standing.py",
        "        if nameless:\n",
        "        if False:\n",
        ("I6",),
        f"{_UNIT}/test_tasking.py::test_a_vmgroup_that_was_lost_with_a_database_is_trouble_until_it_has_a_name",
    ),
    _defect(
        "a-machine-comes-with-a-disk-of-any-vmgroup",
        "a machine that has disks of two vmgroups is put into one of them, with both",
        "membership.py",
        "                if record.vmgroup == comes_into:\n",
        "                if comes_into is not None:\n",
        ("I7",),
        f"{_UNIT}/test_vmgroups.py::test_a_machine_with_disks_of_two_vmgroups_comes_to_neither",
    ),
    _defect(
        "a-volume-moves-with-its-machine-left-behind",
        "a volume that a machine of its vmgroup has attached is given to another vmgroup",
        "custody.py",
        '        record = self._on_no_machine(record, "its vmgroup")\n',
        "",
        ("I7",),
        f"{_UNIT}/test_moving_volumes.py::test_an_attached_volume_stays_where_it_is",
    ),
    _defect(
        "a-volume-that-moved-stays-in-the-lists-of-its-old-vmgroup",
        "Docker hosts of the old vmgroup go on to show a volume that was given to another one",
        "store/intents.py",
        "    volumes.note_gone(transaction, record.id, str(before.vmgroup), change)\n",
        "",
        ("I7",),
        "tests/contract/test_store_regrouping.py::test_who_knew_it_hears_that_it_is_gone_and_the_others_that_it_is_there",
    ),
    _defect(
        "volumes-that-come-at-once-exceed-the-total",
        "volumes that come into a vmgroup at the same time exceed its total together",
        "store/intents.py",
        "        reserving.check_taken_in(transaction, record, record.datastore)\n",
        "        pass\n",
        (),
        "tests/contract/test_store_regrouping.py::test_of_volumes_that_come_at_once_no_more_come_than_fit",
    ),
    _defect(
        "a-machine-moves-while-a-disk-is-on-its-way-to-it",
        "a machine changes its vmgroup while a volume of the old one is being attached to it",
        "membership.py",
        "            if isinstance(intent.change, AttachDisk) and intent.change.vm in moved:\n",
        "            if False:\n",
        ("I7",),
        f"{_UNIT}/test_vmgroups.py::test_a_machine_to_which_a_disk_is_on_its_way_does_not",
    ),
    _defect(
        "a-machine-moves-that-got-a-disk-since-it-was-looked-at",
        "a machine that attached a volume between the look at it and its change of vmgroup is moved",
        "store/vmgroups.py",
        "    if unmoved_since is not None:\n        _check_unmoved(transaction, moved, unmoved_since)\n",
        "",
        ("I7",),
        "tests/contract/test_store_vmgroups.py::test_a_machine_that_got_a_disk_since_somebody_looked_does_not_move",
    ),
    _defect(
        "a-cordon-that-holds-nobody",
        "volumes are made on a datastore that an administrator has cordoned",
        "store/cordons.py",
        "    if row is not None:\n        _cordon(row)\n",
        "    if row is None:\n        return\n    if not _cordon(row).by:\n",
        ("I9",),
        "tests/contract/test_store_cordons.py",
    ),
    _defect(
        "a-dry-run-that-sees-no-cordon",
        "a dry run plans a volume on a cordoned datastore, which the real run refuses",
        "commissioning.py",
        "        if any(each.datastore == name for each in self._store.cordons()):\n",
        "        if False:\n",
        ("I9",),
        f"{_UNIT}/test_commissioning.py::test_on_a_cordoned_datastore_nothing_is_made",
    ),
    _defect(
        "a-vmgroup-that-stays-loses-its-machines",
        "the removal of a vmgroup is refused for a volume that just came, and its machines are out of it",
        "dissolving.py",
        "        self._store.delete_group(own.id, expect=own.revision, unmoved_since=since)\n",
        "        self._store.put_group(grouping.emptied(group).group, expect=own.revision, unmoved_since=since)\n"
        "        self._store.delete_group(own.id, expect=None)\n",
        ("I7",),
        f"{_UNIT}/test_dissolving.py::test_a_vmgroup_that_gets_a_volume_while_it_goes_stays_with_its_machines",
    ),
    _defect(
        "a-vmgroup-goes-from-under-its-volumes",
        "a vmgroup is removed though it has a volume, which nobody sees from then on",
        "store/vmgroups.py",
        "    if transaction.first(_ONE_VOLUME, key=key) is not None:\n",
        "    if transaction.first(_ONE_VOLUME, key=name) is not None:\n",
        ("I7",),
        "tests/contract/test_store_vmgroups.py::test_a_group_with_a_volume_in_any_state_stays",
    ),
    _defect(
        "a-repeated-order-means-the-next-volume-of-that-name",
        "an order to destroy a volume by its name, repeated after the service died, destroys the next one of that name",
        "desk.py",
        "            known = None if mark is None else [begun.subject_of(asked, mark)]\n",
        "            known = None\n",
        ("I1", "I10"),
        f"{_UNIT}/test_repeated_orders.py::test_a_repeated_destruction_by_name_leaves_the_next_volume_of_that_name",
    ),
)
