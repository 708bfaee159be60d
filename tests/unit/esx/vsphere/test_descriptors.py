"""The identity of a disk by its path, as servers may tell it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.clock import Deadline
from vmdkvol.errors import MetadataDamaged, OutcomeUnknown, TruthUnknown
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.ports import DiskPath
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.descriptors import Identities
from vmdkvol_esx.vsphere.faults import Failed, Kind, Meaning, Trouble, error_of
from vmdkvol_esx.vsphere.places import Places
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.sites import Place
from vmdkvol_esx.vsphere.uuids import spaced

PLACE = Place("ds-1", "ds1", "dc-1", "DC", UUID(int=1), "browser-1", "VMFS", 1, 1, writable=True)
OURS, OTHER = DiskUuid(uuid4()), DiskUuid(uuid4())
PATH = "vmdkvol/g/db.vmdk"


class Server(Session[Service]):
    """Tells ``told`` of every disk, or fails with it; ``keeps``: an identity that is set is told from then on."""

    def __init__(self, told: str | Meaning, *, keeps: bool = True, answers: bool = True) -> None:
        self.told = told
        self.keeps = keeps
        self.answers = answers
        self.asked: list[str] = []
        self.stub = None

    def read(self, what: str, call: Callable[[Service], Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return call(self.service())
        except Failed as failed:
            raise error_of(Kind.READ, failed.trouble, what) from failed

    def change(self, what: str, call: Callable[[Service], Any], *args: Any, **kwargs: Any) -> Any:
        call(self.service())
        if not self.answers:
            raise OutcomeUnknown("the answer was lost")

    def service(self) -> Service:
        disks = SimpleNamespace(QueryVirtualDiskUuid=self.query, SetVirtualDiskUuid=self.set)
        return cast(Service, SimpleNamespace(content=SimpleNamespace(virtualDiskManager=disks), stub=None))

    def query(self, path: str, datacenter: Any) -> str:
        self.asked.append(path)
        if isinstance(self.told, Meaning):
            raise Failed(Trouble(self.told, "said the server"))
        return self.told

    def set(self, path: str, datacenter: Any, uuid: str) -> None:
        if self.keeps:
            self.told = uuid


def identities(server: Server) -> Identities:
    places = SimpleNamespace(named=lambda name, deadline: PLACE if name == "ds1" else None)
    return Identities(server, cast(Places, places), HandClock())


def soon() -> Deadline:
    return Deadline.after(HandClock(), 10.0)


def test_an_identity_is_asked_for_by_the_path() -> None:
    server = Server(spaced(OURS))

    assert identities(server).at(PLACE, PATH, soon()) == OURS
    assert server.asked == [f"[ds1] {PATH}"]


def test_no_file_is_no_identity() -> None:
    assert identities(Server(Meaning.ABSENT)).at(PLACE, PATH, soon()) is None


@pytest.mark.parametrize("told", ["", "no uuid", Meaning.DAMAGED])
def test_what_says_no_identity_is_damaged_and_not_absent(told: str | Meaning) -> None:
    with pytest.raises(MetadataDamaged):
        identities(Server(told)).at(PLACE, PATH, soon())


@pytest.mark.parametrize("meaning", [Meaning.HELD, Meaning.OTHER, Meaning.NO_DATASTORE])
def test_what_cannot_be_asked_is_unknown(meaning: Meaning) -> None:
    with pytest.raises(TruthUnknown) as caught:
        identities(Server(meaning)).at(PLACE, PATH, soon())

    assert caught.value.fields["meaning"] == meaning.name


def test_an_identity_that_was_put_is_read_back() -> None:
    server = Server(spaced(OTHER))

    identities(server).put(PLACE, PATH, OURS, soon())

    assert server.told == spaced(OURS)


def test_an_identity_that_the_server_takes_and_does_not_keep_is_noticed() -> None:
    with pytest.raises(MetadataDamaged, match=f"{OTHER} afterwards, not {OURS}"):
        identities(Server(spaced(OTHER), keeps=False)).put(PLACE, PATH, OURS, soon())


@pytest.mark.parametrize("keeps", [True, False])
def test_an_identity_in_doubt_is_settled_by_reading(keeps: bool) -> None:
    server = Server(spaced(OTHER), keeps=keeps, answers=False)

    if keeps:
        identities(server).put(PLACE, PATH, OURS, soon())
    else:
        with pytest.raises(OutcomeUnknown):
            identities(server).put(PLACE, PATH, OURS, soon())


def test_a_path_of_a_device_list_is_asked_for_where_its_datastore_is() -> None:
    server = Server(spaced(OURS))
    known = identities(server)

    assert known.identify(server.service(), DiskPath(DatastoreName("ds1"), PATH)) == OURS
    assert known.identify(server.service(), DiskPath(DatastoreName("ds9"), PATH)) is None
