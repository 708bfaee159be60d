"""The channel's proof becomes a caller, or an error: never another caller, never the previous one (vdvs-facts L32)."""

from __future__ import annotations

from typing import cast
from uuid import UUID

import pytest

from tests.doubles.hand_clock import HandClock
from tests.unit.esx.site import Kept
from vmdkvol.errors import HypervisorUnreachable, NotEnrolled, UnknownCaller
from vmdkvol.messages import Hello
from vmdkvol.volume import VmId
from vmdkvol_esx.alarms import Alarms
from vmdkvol_esx.callers import Caller, Callers, Proof, require_root
from vmdkvol_esx.ports import Hypervisor, Vm

HOST = VmId(UUID(int=1))
STRANGER = VmId(UUID(int=2))


class _Vms:
    """The part of a hypervisor that tells who is who."""

    def __init__(self) -> None:
        self.known = {HOST: Vm(HOST, "host", running=True)}
        self.broken = False

    def vm(self, vm: VmId) -> Vm | None:
        if self.broken:
            raise HypervisorUnreachable("the hypervisor does not answer")
        return self.known.get(vm)


HELLO = Hello(1, 1, "agent", "boot")


def proof(uid: int | None, vm: VmId | None) -> Proof:
    return Proof(vm, uid, None, None, "a test's peer")


def callers(vms: _Vms) -> Callers:
    clock = HandClock()
    return Callers(cast(Hypervisor, vms), None, clock, Alarms(clock, Kept()))


def test_root_on_a_registered_hosts_socket_is_that_host() -> None:
    assert callers(_Vms()).identify(proof(0, HOST), HELLO) == Caller(HOST, "host")


@pytest.mark.parametrize("uid", [1, 1000, 65534, -1, 2**32 - 1, None])
def test_whoever_is_not_root_is_unknown(uid: int | None) -> None:
    with pytest.raises(UnknownCaller):
        callers(_Vms()).identify(proof(uid, HOST), HELLO)


def test_a_connection_that_is_no_hosts_own_proves_nobody() -> None:
    with pytest.raises(NotEnrolled, match="shows no certificate"):
        callers(_Vms()).identify(proof(0, None), HELLO)


def test_the_uid_is_looked_at_before_the_hypervisor_is_asked() -> None:
    vms = _Vms()
    vms.broken = True
    with pytest.raises(UnknownCaller):
        callers(vms).identify(proof(1000, HOST), HELLO)


def test_a_vm_that_the_hypervisor_does_not_have_is_not_enrolled() -> None:
    with pytest.raises(NotEnrolled, match=str(STRANGER)):
        callers(_Vms()).identify(proof(0, STRANGER), HELLO)


def test_a_vm_that_went_away_is_not_remembered() -> None:
    vms = _Vms()
    known = callers(vms)
    known.identify(proof(0, HOST), HELLO)
    vms.known.clear()
    with pytest.raises(NotEnrolled):
        known.identify(proof(0, HOST), HELLO)


def test_a_hypervisor_that_does_not_answer_makes_nobody_of_nobody() -> None:
    vms = _Vms()
    known = callers(vms)
    known.identify(proof(0, HOST), HELLO)
    vms.broken = True
    with pytest.raises(HypervisorUnreachable):
        known.identify(proof(0, HOST), HELLO)


def test_root_is_root() -> None:
    require_root(0)
