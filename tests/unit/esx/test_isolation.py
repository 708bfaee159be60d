"""I7, T5: over the sockets of two machines in two vmgroups, with the same names on both sides: what is another tenant's is
answered as what does not exist, in code, text, fields and remedy, and costs the same questions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.doubles import channel_ends
from tests.doubles.channel_ends import VM_1, VM_2, call
from tests.unit.esx.site import DS1, A, B
from tests.unit.esx.tenants import Tenants
from vmdkvol.clock import Deadline
from vmdkvol.errors import VolumeError
from vmdkvol.messages import (
    Attach,
    Call,
    CreateVolume,
    Detach,
    GetVolume,
    Keep,
    ListAttached,
    ListVolumes,
    Mark,
    RemoveVolume,
    Request,
)
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Content, State, VolumeId
from vmdkvol_esx.ports import AttachDisk, CreateDisk

SAME, THEIRS, NOBODYS = "db", "secret@ds1", "secreT@ds1"
HOSTS = {VM_1: A, VM_2: B}


class Heard:
    """Writes down what is asked of a port."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found

        def asked(*args: Any, **keywords: Any) -> Any:
            self.calls.append(name)
            return found(*args, **keywords)

        return asked


class Wired:
    """``Tenants`` behind its own sockets: host 1 is in the group red, host 2 in ``_DEFAULT``."""

    def __init__(self, directory: Path) -> None:
        self.tenants = tenants = Tenants(retention_s=1000.0)
        self.real = tenants.hypervisor
        self.hypervisor, self.store = Heard(tenants.hypervisor), Heard(tenants.store)
        tenants.hypervisor, tenants.store = self.hypervisor, self.store  # type: ignore[assignment]
        tenants.restart()
        self.channel = channel_ends.Site(directory, self._answer, (VM_1, VM_2))
        self.lines = {vm: self.channel.line(vm) for vm in HOSTS}
        for vm in HOSTS:
            self.lines[vm].ask(ListAttached(), call())

    def _answer(self, request: Request[Any], asked: Call) -> Any:
        assert asked.caller is not None
        deadline = Deadline.after(self.tenants.clock, 1000.0)
        return self.tenants.requests.answer(request, Call(asked.id, deadline, HOSTS[asked.caller]))

    def red(self, request: Request[Any]) -> tuple[object, ...]:
        """Return all that a guest of red can see of the answer."""
        try:
            answer = self.lines[VM_1].ask(request, call(20.0))
        except VolumeError as error:
            return type(error), error.code, error.text, error.remedy, tuple(error.fields.items())
        return (answer,)

    def cost(self, request: Request[Any]) -> tuple[list[str], list[str]]:
        """Return what the answer for a guest of red took of hypervisor and database."""
        self.hypervisor.calls.clear()
        self.store.calls.clear()
        self.red(request)
        return list(self.hypervisor.calls), list(self.store.calls)

    def close(self) -> None:
        self.channel.close()


@pytest.fixture
def wired(tmp_path: Path) -> Iterator[Wired]:
    made = Wired(tmp_path)
    yield made
    made.close()


# --- another tenant's volume, in every state that it may have ------------------------------------------------------


def ready(wired: Wired) -> VolumeId:
    return wired.tenants.create(THEIRS, B).id


def attached(wired: Wired) -> VolumeId:
    volume = ready(wired)
    wired.tenants.attach(volume, B)
    return volume


def formatted(wired: Wired) -> VolumeId:
    volume = ready(wired)
    wired.tenants.format(volume, B)
    return volume


def trashed(wired: Wired) -> VolumeId:
    volume = ready(wired)
    wired.tenants.remove(volume, B)
    return volume


def lost(wired: Wired) -> VolumeId:
    volume = ready(wired)
    record = wired.tenants.record(volume)
    wired.tenants.store.update(replace(record, state=State.LOST, generation=record.generation + 1), expect=record.generation)
    return volume


def being_attached(wired: Wired) -> VolumeId:
    volume = ready(wired)
    wired.real.takes(AttachDisk, 500.0)
    wired.tenants.leave(Attach(volume), B)
    return volume


def being_made(wired: Wired) -> VolumeId:
    wired.real.takes(CreateDisk, 500.0)
    wired.tenants.leave(CreateVolume(VolumeRef.parse(THEIRS), CreateOptions.parse({})), B)
    (made,) = [record for record in wired.tenants.records() if record.name == THEIRS]
    return made.id


STATES = [ready, attached, formatted, trashed, lost, being_attached, being_made]
BY_ID: dict[str, Callable[[VolumeId], Request[Any]]] = {
    "attach": Attach,
    "detach": lambda volume: Detach(volume, 1),
    "detach-newer": lambda volume: Detach(volume, 99),
    "remove": RemoveVolume,
    "mark": lambda volume: Mark(volume, 1, Content.FORMATTING, UUID(int=1)),
    "mark-blank": lambda volume: Mark(volume, 2, Content.UNFORMATTED, None, "broken"),
    "keep": Keep,
}
BY_NAME: dict[str, Callable[[str], Request[Any]]] = {
    "get": lambda name: GetVolume(VolumeRef.parse(name)),
    "get-without-its-datastore": lambda name: GetVolume(VolumeRef.parse(name.partition("@")[0])),
    "clone": lambda name: CreateVolume(VolumeRef.parse("mine"), CreateOptions.parse({"clone-from": name, "datastore": "ds1"})),
    "clone-without-its-datastore": lambda name: CreateVolume(
        VolumeRef.parse("mine"), CreateOptions.parse({"clone-from": name.partition("@")[0], "datastore": "ds1"})
    ),
}


def plain(answer: tuple[object, ...], said: str) -> str:
    """Return the answer with what was asked for taken out of it."""
    short = said.partition("@")[0]
    return repr(answer).replace(said, "X").replace(short, "X")


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_by_id_anothers_volume_is_as_none(wired: Wired, state: Callable[[Wired], VolumeId]) -> None:
    theirs = state(wired)
    before = wired.tenants.record(theirs)
    for verb, request in BY_ID.items():
        nobodys = VolumeId(uuid4())
        begin = time.monotonic()
        assert plain(wired.red(request(theirs)), str(theirs)) == plain(wired.red(request(nobodys)), str(nobodys)), verb
        assert time.monotonic() - begin < 5.0, f"{verb} waited for another tenant's work"
    after = wired.tenants.record(theirs)
    assert (after.name, after.content, after.trashed_at) == (before.name, before.content, before.trashed_at)
    assert wired.tenants.wanted == []


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_by_name_anothers_volume_is_as_none(wired: Wired, state: Callable[[Wired], VolumeId]) -> None:
    state(wired)
    for verb, request in BY_NAME.items():
        assert plain(wired.red(request(THEIRS)), THEIRS) == plain(wired.red(request(NOBODYS)), NOBODYS), verb


@pytest.mark.parametrize("state", [ready, attached, trashed, lost], ids=lambda state: state.__name__)
def test_the_answer_costs_the_same(wired: Wired, state: Callable[[Wired], VolumeId]) -> None:
    theirs = state(wired)
    for verb, by_id in BY_ID.items():
        assert wired.cost(by_id(theirs)) == wired.cost(by_id(VolumeId(uuid4()))), verb
    for verb, by_name in BY_NAME.items():
        assert wired.cost(by_name(THEIRS)) == wired.cost(by_name(NOBODYS)), verb


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_name_that_another_tenant_has_is_free(wired: Wired, state: Callable[[Wired], VolumeId]) -> None:
    theirs = state(wired)
    wired.real.takes(CreateDisk, 0.0)

    (made,) = wired.red(CreateVolume(VolumeRef.parse(THEIRS), CreateOptions.parse({"size": "1gb"})))

    assert made.id != theirs  # type: ignore[attr-defined]
    assert made.size_bytes == 1 << 30  # type: ignore[attr-defined]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_listing_has_nothing_of_anothers(wired: Wired, state: Callable[[Wired], VolumeId]) -> None:
    ours = wired.tenants.create(SAME).id
    since = wired.lines[VM_1].ask(ListVolumes(), call()).change
    theirs = state(wired)
    wired.tenants.create(SAME, B, datastore=DS1)

    for request in (ListVolumes(), ListVolumes(preparing=True), ListVolumes(since=since), ListVolumes(since=since - 1)):
        page = wired.lines[VM_1].ask(request, call())
        assert {info.id for info in page.volumes} <= {ours}
        assert theirs not in page.removed
    assert wired.lines[VM_1].ask(ListAttached(), call()).attachments == ()


def test_of_two_volumes_of_one_name_each_tenant_has_its_own(wired: Wired) -> None:
    ours, theirs = wired.tenants.create(SAME).id, wired.tenants.create(SAME, B, datastore="ds1").id
    request = GetVolume(VolumeRef.parse(SAME))

    assert wired.lines[VM_1].ask(request, call()).id == ours
    assert wired.lines[VM_2].ask(request, call()).id == theirs
    wired.lines[VM_1].ask(RemoveVolume(ours), call())
    assert wired.red(request)[1] == "volume-not-found"
    assert wired.lines[VM_2].ask(request, call()).id == theirs
