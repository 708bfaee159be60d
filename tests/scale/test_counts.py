"""What a large site costs, by counts: nothing is asked once for each volume that can be asked once for all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

from tests.scale.counted import Counted
from tests.scale.filling import fill, fill_datastore, records
from tests.unit.guest.host import Log
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.lanes import Lanes
from vmdkvol.messages import Call, ListVolumes
from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmId
from vmdkvol_esx.housekeeping import Housekeeping
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.local.hypervisor import LocalHypervisor
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.ports import Vm
from vmdkvol_esx.requests import Requests, make_verbs
from vmdkvol_esx.store import open_store

# More than two shares of what a scan reads again; each costs a millisecond to fill.
MANY = 1200
_SHARES = 3
VM = Vm(VmId(uuid4()), "vsphere", running=True)


class Place:
    """A service's use cases over ``MANY`` volumes, without its process; its two ports are counted."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "ds1"
        database = root / "vmdkvol.db"
        self.records = fill(database, self.directory, MANY)
        self.clock = SystemClock()
        self._store = open_store(database, self.clock)
        self._hypervisor = LocalHypervisor([LocalDatastore(DatastoreName("ds1"), str(self.directory))], [VM], self.clock)
        self.store, self.hypervisor, self.log = Counted(self._store), Counted(self._hypervisor), Log()
        parts = Parts(
            cast(Any, self.store), cast(Any, self.hypervisor), Lanes(self.clock, "volume"), self.clock, uuid4, self.log
        )
        verbs = make_verbs(parts, notify=lambda vm, notice: False, retention_s=0)
        self.requests = Requests(verbs)
        self._parts, self._verbs = parts, verbs
        self.housekeeping = self._new_housekeeping()

    def _new_housekeeping(self) -> Housekeeping:
        return Housekeeping(
            self._parts, self._verbs.journal, self._verbs.removing, self._verbs.whereabouts, retention_s=0, every_s=3600
        )

    def start_anew(self) -> None:
        """Have a housekeeping that has seen nothing yet, and nothing counted."""
        self.housekeeping = self._new_housekeeping()
        self.log.lines.clear()
        self.reset()

    def reset(self) -> None:
        for port in (self.store, self.hypervisor):
            port.calls.clear()
            port.items.clear()

    def pages(self, since: int | None = None) -> list[Any]:
        """Return the answers to a whole listing, page by page."""
        found: list[Any] = []
        after = None
        while not found or after is not None:
            call = Call(uuid4(), Deadline.after(self.clock, 60), VM.id)
            found.append(self.requests.answer(ListVolumes(after, 100, since), call))
            after = found[-1].next
        return found

    def close(self) -> None:
        self._store.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("many"))
    yield made
    made.close()


@pytest.fixture
def place(filled: Place) -> Place:
    filled.start_anew()
    return filled


@pytest.mark.integration
def test_a_scan_asks_the_database_by_pages_and_for_no_disk_by_itself(place: Place) -> None:
    place.housekeeping.scan()

    # The last page is the empty one.
    assert place.store.calls["page"] == -(-MANY // 500) + 1
    assert place.store.calls["with_disk"] == 0
    assert place.store.calls["volume"] == 0
    assert place.hypervisor.calls["disk"] == 0
    assert place.hypervisor.calls["disks"] == 1
    assert place.log.count("warning") + place.log.count("error") == 0


@pytest.mark.integration
def test_a_scan_reads_a_share_of_the_sidecars_that_were_found_right(place: Place) -> None:
    place.housekeeping.scan()
    assert place.hypervisor.calls["read_sidecar"] == MANY

    read = []
    for _ in range(_SHARES):
        place.reset()
        place.housekeeping.scan()
        read.append(place.hypervisor.calls["read_sidecar"])

    # All of them again in that many scans.
    assert sum(read) == MANY
    assert max(read) < 2 * MANY / _SHARES


@pytest.mark.integration
def test_a_sidecar_that_is_lost_comes_back_however_many_there_are(place: Place) -> None:
    place.housekeeping.scan()
    lost = place.directory / place.records[7].path
    lost.with_name(f"{lost.stem}.vmdkvol.json").unlink()

    for _ in range(_SHARES):
        place.housekeeping.scan()

    assert lost.with_name(f"{lost.stem}.vmdkvol.json").exists()


@pytest.mark.integration
def test_a_disk_without_a_record_is_still_found_among_many(place: Place) -> None:
    (stranger,) = records(1, first=MANY + 1)
    fill_datastore(place.directory, [stranger])

    try:
        place.housekeeping.scan()
    finally:
        for file in (place.directory / stranger.path).parent.glob(f"{(place.directory / stranger.path).stem}*"):
            file.unlink()

    assert place.log.count("warning") == 1


@pytest.mark.integration
def test_a_listing_reads_each_record_about_once_and_the_hypervisor_no_more_than_once_a_page(place: Place) -> None:
    pages = place.pages()

    assert sum(len(page.volumes) for page in pages) == MANY
    assert place.store.items["page"] <= 1.25 * MANY
    assert place.hypervisor.calls["disk"] == 0
    assert place.hypervisor.calls["allocated"] == len(pages)
    # Read within the same two seconds, it is the same list (docs/decisions/0025).
    assert 1 <= place.hypervisor.calls["devices"] <= len(pages)


@pytest.mark.integration
def test_a_listing_of_changes_costs_what_has_changed(place: Place) -> None:
    change = place.pages()[-1].change
    place.reset()

    (page,) = place.pages(since=change)

    assert page.volumes == ()
    assert place.store.items["page"] == 0


@pytest.mark.integration
@pytest.mark.parametrize("changed", [1, 900, 1000, 1001, MANY])
def test_a_listing_of_changes_has_each_of_them_once_in_the_order_of_ids(place: Place, changed: int) -> None:
    """A few changes are found by their index and many in the order of ids: both give the same pages."""
    since = place.pages()[-1].change - changed

    told = [info.id for page in place.pages(since=since) for info in page.volumes]

    newest = sorted(place.records, key=lambda record: record.created_at)[-changed:]
    assert told == sorted((record.id for record in newest), key=str)
