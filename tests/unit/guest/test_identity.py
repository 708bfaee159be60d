"""Who this host is: known from the first Hello on, and waited for until then."""

from __future__ import annotations

import threading
from uuid import UUID

import pytest

from tests.doubles.hurried_clock import HurriedClock
from vmdkvol.clock import SystemClock
from vmdkvol.errors import ServiceUnreachable
from vmdkvol.messages import NEWEST_VERSION, Welcome
from vmdkvol.volume import VmId
from vmdkvol_guest.composing import Identity

VM = VmId(UUID(int=1))
HELLO = Welcome(NEWEST_VERSION, VM, "host-a", "vmdkvol-esxd")


def test_a_remove_right_after_a_restart_waits_for_the_first_hello() -> None:
    identity = Identity(SystemClock(), patience_s=60.0)
    hello = threading.Timer(0.05, identity.learn, [HELLO])
    hello.start()
    assert identity.vm() == VM
    assert identity.vm_name() == "host-a"
    hello.join()


def test_without_a_hello_the_wait_ends() -> None:
    with pytest.raises(ServiceUnreachable, match="not reached yet"):
        Identity(HurriedClock()).vm()
