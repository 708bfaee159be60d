"""Certificates are looked after while the service runs, whatever fails meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import pytest

from tests.unit.esx.enrolment import HOST, LEAF_S, Registry, from_tcp
from tests.unit.esx.site import Kept
from vmdkvol.admin_messages import EnrollVm
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import MetadataDamaged, NotPermitted
from vmdkvol.messages import Enroll
from vmdkvol.volume import VmId
from vmdkvol_esx.expiring import Expiring
from vmdkvol_esx.registry import OwnCertificate


@dataclass(slots=True)
class Watched:
    """Two enrolled machines, the first connected."""

    renew: Callable[[], bool] = lambda: False
    registry: Registry = field(default_factory=Registry)
    log: Kept = field(default_factory=Kept)
    closed: list[tuple[VmId, set[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("host", "other"):
            token = self.registry.enrolments.enroll(EnrollVm(name)).token
            self.registry.enrolling.enroll(Enroll(token, f"csr {name}"), from_tcp())
        self.registry.connected.add(HOST)

    @property
    def expiring(self) -> Expiring:
        connected = self.registry.connected.__contains__
        return Expiring(self.registry.store, self.registry.clock, self.log, connected, self.close, self.renew)

    def close(self, vm: VmId, counts: Collection[str]) -> None:
        self.closed.append((vm, set(counts)))

    def counting(self, vm: VmId) -> set[str]:
        return {each.fingerprint for each in self.registry.store.identities(vm)}


def test_who_is_connected_is_looked_at_each_time_and_keeps_what_counts() -> None:
    watched = Watched()
    looks = watched.expiring
    looks.look()
    looks.look()
    assert watched.closed == [(HOST, watched.counting(HOST))] * 2
    assert watched.counting(HOST)


@pytest.mark.parametrize("end", ["over", "revoked"])
def test_what_is_over_or_revoked_does_not_count(end: str) -> None:
    watched = Watched()
    if end == "over":
        watched.registry.clock.pass_time(LEAF_S)
    else:
        watched.registry.store.revoke(HOST, watched.registry.clock.wall())
    watched.expiring.look()
    assert watched.closed == [(HOST, set())]


def test_the_services_own_certificate_is_renewed_and_that_is_told() -> None:
    watched = Watched(renew=lambda: True)
    watched.expiring.look()
    assert [line.event for line in watched.log.lines] == ["the service has a new certificate"]


@pytest.mark.parametrize("error", [MetadataDamaged("no key"), NotPermitted("no right"), OSError("disk full")])
def test_what_fails_is_told_once_and_tried_again(error: Exception) -> None:
    tries = []

    def renew() -> bool:
        tries.append(1)
        raise error

    watched = Watched(renew=renew)
    looks = watched.expiring
    for _ in range(3):
        looks.look()
    assert len(tries) == 3
    assert [line.event for line in watched.log.lines] == ["certificates are not looked after"]


def test_a_renewal_that_fails_keeps_nobody_connected() -> None:
    def renew() -> bool:
        raise MetadataDamaged("no key")

    watched = Watched(renew=renew)
    watched.expiring.look()
    assert watched.closed == [(HOST, watched.counting(HOST))]


def test_a_bug_in_one_look_is_told_and_the_next_look_comes() -> None:
    again = threading.Event()
    tries: list[int] = []

    def renew() -> bool:
        tries.append(1)
        if len(tries) == 1:
            raise ZeroDivisionError("a bug")
        again.set()
        return False

    watched = Watched(renew=renew)
    records, connected = watched.registry.store, watched.registry.connected.__contains__
    looks = Expiring(records, SystemClock(), watched.log, connected, watched.close, renew, every_s=0.01)
    looks.start()
    assert again.wait(30.0)
    assert looks.stop(Deadline.after(SystemClock(), 30.0))
    (told,) = watched.log.lines
    assert (told.level, told.fields["error"]) == ("error", "ZeroDivisionError: a bug")


def test_it_ends_when_it_is_told_to() -> None:
    looks = Watched().expiring
    looks.start()
    assert looks.stop(Deadline.after(Registry().clock, 10.0))


def test_what_never_started_has_ended() -> None:
    assert Watched().expiring.stop(Deadline.after(Registry().clock, 10.0))


def test_a_new_certificate_that_could_not_be_read_is_shown_at_a_later_look() -> None:
    """The file is new and whole, and would not be made again: the old one would be shown to its end."""
    made, shown = iter([True, False, False]), iter([MetadataDamaged("no descriptors left"), None])

    def show() -> None:
        if (error := next(shown)) is not None:
            raise error

    own = OwnCertificate(lambda: next(made), show)
    watched = Watched(renew=own.renew)
    looks = watched.expiring
    for _ in range(3):
        looks.look()
    assert [line.event for line in watched.log.lines] == [
        "certificates are not looked after",
        "the service has a new certificate",
    ]
