"""The channel's proof becomes a caller. Nothing that a guest sends takes part in it, and nothing is kept between calls.

In the sandbox all agents are root on one kernel: the socket that a connection came in by is the identity, and
SO_PEERCRED checks that it is root who holds the other end (corrections 14).
"""

from __future__ import annotations

from dataclasses import dataclass

from vmdkvol.errors import NotEnrolled, UnknownCaller
from vmdkvol.volume import VmId
from vmdkvol_esx.ports import Hypervisor


@dataclass(frozen=True, slots=True)
class Caller:
    """A virtual machine that proved to be the one that calls."""

    vm: VmId
    name: str


def require_root(uid: int) -> None:
    """Raise UnknownCaller unless the peer is root."""
    if uid != 0:
        raise UnknownCaller(f"uid {uid} may not use the service's socket", remedy="the agent must run as root")


class Callers:
    """Who calls, asked of the hypervisor each time: a proof of an earlier connection says nothing (vdvs-facts L32)."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor

    def identify(self, uid: int, vm: VmId) -> Caller:
        """Return the caller on a connection of ``uid`` by the socket that is bound to ``vm``.

        Raises UnknownCaller if it is not root, NotEnrolled if the hypervisor has no such VM, and what reading it raises.
        """
        require_root(uid)
        found = self._hypervisor.vm(vm)
        if found is None:
            raise NotEnrolled(
                f"virtual machine {vm} is not known to the service",
                remedy="register this Docker host with the service, then restart its agent",
            )
        return Caller(found.id, found.name)
