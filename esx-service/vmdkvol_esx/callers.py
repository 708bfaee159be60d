"""The channel's proof becomes a caller. Nothing that a guest sends takes part in it, and nothing is kept between calls.

In the sandbox all agents are root on one kernel: the socket that a connection came in by is the identity, and
SO_PEERCRED checks that it is root who holds the other end (corrections 14).
"""

from __future__ import annotations

from dataclasses import dataclass

from vmdkvol.errors import NotEnrolled, UnknownCaller
from vmdkvol.messages import Hello
from vmdkvol.volume import VmId
from vmdkvol_esx.ports import Hypervisor


@dataclass(frozen=True, slots=True)
class Proof:
    """What a connection proves: nothing of it comes from a message.

    ``vm`` is the machine that the Unix socket is bound to, ``uid`` who is at its other end; ``certificate`` (DER) is what
    the peer showed that it has the key of, signed by our authority; ``context_id`` is a vsock's. ``text`` is for logs.
    """

    vm: VmId | None
    uid: int | None
    certificate: bytes | None
    context_id: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Present:
    """An agent that said Hello and whose connection stands."""

    caller: Caller
    boot_id: str
    proof: Proof


@dataclass(frozen=True, slots=True)
class Caller:
    """A virtual machine that proved to be the one that calls."""

    vm: VmId
    name: str


def require_root(uid: int | None) -> None:
    """Raise UnknownCaller unless the peer is root."""
    if uid != 0:
        who = "a user that cannot be read" if uid is None else f"uid {uid}"
        raise UnknownCaller(f"{who} may not use the service's socket", remedy="the agent must run as root")


class Callers:
    """Who calls, asked of the hypervisor each time: a proof of an earlier connection says nothing (vdvs-facts L32)."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor

    def identify(self, proof: Proof, hello: Hello) -> Caller:
        """Return the caller on a connection that came in by a Unix socket, and so to the machine that this is bound to.

        Raises UnknownCaller if it is not root, or no such proof; NotEnrolled if the hypervisor has no such VM, and what
        reading it raises.
        """
        if proof.vm is None:
            raise UnknownCaller(f"{proof.text} does not prove which virtual machine calls")
        require_root(proof.uid)
        found = self._hypervisor.vm(proof.vm)
        if found is None:
            raise NotEnrolled(
                f"virtual machine {proof.vm} is not known to the service",
                remedy="register this Docker host with the service, then restart its agent",
            )
        return Caller(found.id, found.name)
