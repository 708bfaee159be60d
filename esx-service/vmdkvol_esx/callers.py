"""The channel's proof becomes a caller. Nothing that a guest sends takes part in it, and nothing is kept between calls.

By a Unix socket: in the sandbox all agents are root on one kernel, so the socket that a connection came in by is the identity,
and SO_PEERCRED checks that it is root who holds the other end (corrections 14). Everywhere else a certificate is, which must
be on record; over vsock the hypervisor's word on who has that context id comes on top of it (faults 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from vmdkvol.clock import Clock
from vmdkvol.errors import Busy, IdentityConflict, MetadataDamaged, NotEnrolled, UnknownCaller
from vmdkvol.messages import Hello
from vmdkvol.volume import VmId
from vmdkvol_esx.alarms import Alarms
from vmdkvol_esx.identities import Identity, fingerprint
from vmdkvol_esx.ports import Hypervisor

# A second machine with the same identity waits so long: by then the channel has found out whether the first is dead.
CONFLICT_S = 15.0
# Who has not asked for so long begins to wait anew.
_FORGOTTEN_S = 60.0
# Machines with an identity that another one has too, and how many boots of them: more are a flood, and are all refused.
_WAITING = 1000

_REBUILD = "an administrator must look at the service's log, which says how to rebuild it"
ENROL_AGAIN = "enrol this machine again"


@dataclass(frozen=True, slots=True)
class Proof:
    """What a connection proves: nothing of it comes from a message.

    ``vm`` is the machine that the Unix socket is bound to, ``uid`` who is at its other end; ``certificate`` (DER) is what
    the peer showed that it has the key of, signed by our authority; ``context_id`` is a vsock's. ``text`` is for logs.
    ``place`` is where on the network it seems to be: it proves nothing, but two at once are not one machine's.
    """

    vm: VmId | None
    uid: int | None
    certificate: bytes | None
    context_id: int | None
    text: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Present:
    """An agent that said Hello and whose connection stands."""

    caller: Caller
    boot_id: str
    proof: Proof


@dataclass(frozen=True, slots=True)
class Caller:
    """A virtual machine that proved to be the one that calls.

    ``as_of`` numbers the moment before the records were looked at, see ``Callers.ended``.
    """

    vm: VmId
    name: str
    as_of: int = 0


class OnRecord(Protocol):
    """The part of ``identities.Identities`` that tells whom a certificate speaks for."""

    def identity(self, fingerprint: str) -> Identity | None: ...


def require_root(uid: int | None) -> None:
    """Raise UnknownCaller unless the peer is root."""
    if uid != 0:
        who = "a user that cannot be read" if uid is None else f"uid {uid}"
        raise UnknownCaller(f"{who} may not use the service's socket", remedy="the agent must run as root")


class Callers:
    """Who calls, asked of records and hypervisor each time: a proof of an earlier connection says nothing (vdvs-facts L32)."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        records: OnRecord | None,
        clock: Clock,
        alarms: Alarms,
        presented: Callable[[VmId, str], None] | None = None,
    ) -> None:
        """``records`` None: the database cannot be used, so no certificate counts. ``presented`` hears what a caller showed."""
        self._hypervisor = hypervisor
        self._records = records
        self._clock = clock
        self._alarms = alarms
        self._presented = presented
        # The number of the last end of an identity, and of each machine's.
        self._ends = 0
        self._ended: dict[VmId, int] = {}
        # On the server's one thread alone: since when, and when last, a second boot of a machine asked to be let in.
        self._waiting: dict[tuple[VmId, str, str], tuple[float, float]] = {}

    def identify(self, proof: Proof, hello: Hello) -> Caller:
        """Return the caller. Raises UnknownCaller, NotEnrolled, IdentityConflict, and what reading records and VMs raises."""
        if proof.vm is not None:
            require_root(proof.uid)
            return self._existing(proof.vm, "register this Docker host with the service, then restart its agent")
        as_of = self._ends
        if proof.certificate is None:
            raise NotEnrolled("the caller shows no certificate: it is not enrolled")
        identity = self._identity(proof.certificate)
        if proof.context_id is not None:
            self._check_context(proof.context_id, identity, proof.text)
        caller = self._existing(identity.vm, ENROL_AGAIN)
        if self._presented is not None:
            self._presented(caller.vm, identity.fingerprint)
        return replace(caller, as_of=as_of)

    def whose(self, proof: Proof) -> VmId:
        """Return which machine a certificate speaks for, by the records alone; raises as ``identify`` does for those.

        It proves nothing more: ``identify`` looks at all of it. What that asks of the hypervisor may take its time, and who
        has to wait for it is this machine.
        """
        if proof.certificate is None:
            raise NotEnrolled("the caller shows no certificate: it is not enrolled")
        return self._identity(proof.certificate).vm

    def ended(self, vm: VmId) -> None:
        """A certificate of this machine counts no more: who was identified before this is identified again.

        Told after the records are changed, and before its connections are closed: one may be about to be let in.
        """
        self._ends += 1
        self._ended[vm] = self._ends

    def admit(self, newcomer: Present, others: tuple[Present, ...]) -> None:
        """Let one boot of a machine in at a time, and from one place, of those that come with a certificate.

        A copy that was made with the machine's memory has its boot id too, and is told by its address. Busy while another one
        is there that may be dead, and if an identity has ended since the newcomer was looked at; IdentityConflict when the
        other one is still there after ``CONFLICT_S``.
        """
        if newcomer.caller.as_of < self._ended.get(newcomer.caller.vm, 0):
            raise Busy(f"the certificates of {newcomer.caller.name} were changed at this moment")
        key = newcomer.caller.vm, newcomer.boot_id, newcomer.proof.place
        proven = [each for each in others if each.proof.certificate is not None]
        rivals = [each for each in proven if (each.boot_id, each.proof.place) != key[1:]]
        if newcomer.proof.certificate is None or not rivals:
            self._waiting.pop(key, None)
            return
        now = self._clock.monotonic()
        since, last = self._waiting.pop(key, (now, now))
        since = now if now - last > _FORGOTTEN_S else since
        self._waiting[key] = since, now
        if len(self._waiting) > _WAITING:
            del self._waiting[next(iter(self._waiting))]
        name, here, there = newcomer.caller.name, newcomer.proof.text, rivals[0].proof.text
        if now - since < CONFLICT_S:
            raise Busy(f"another connection of {name} stands, from {there}; whether it is dead is being found out")
        self._alarms.sound(
            newcomer.caller.vm, "two machines have one identity: the second is refused", vm=name, served=there, refused=here
        )
        raise IdentityConflict(f"{name} is connected from {there} already, with the same key")

    def _identity(self, certificate: bytes) -> Identity:
        """Return the identity that a certificate (DER) is; NotEnrolled if it speaks for nobody (any more).

        MetadataDamaged without records: a certificate may have been revoked since it was signed. The texts are the same at
        each try: an agent logs what is new.
        """
        if self._records is None:
            raise MetadataDamaged(
                "whom this certificate speaks for cannot be looked up: the service's database is damaged", remedy=_REBUILD
            )
        found = self._records.identity(fingerprint(certificate))
        if found is None:
            raise NotEnrolled("this certificate is not on record: replaced, or newer than the database", remedy=ENROL_AGAIN)
        if found.revoked_at is not None:
            raise NotEnrolled(f"the certificate of {found.name} was revoked", remedy=ENROL_AGAIN)
        if self._clock.wall() >= found.not_after:
            raise NotEnrolled(f"the certificate of {found.name} is over", remedy=ENROL_AGAIN)
        return found

    def _existing(self, vm: VmId, remedy: str) -> Caller:
        found = self._hypervisor.vm(vm)
        if found is None:
            raise NotEnrolled(f"virtual machine {vm} is not known to the service", remedy=remedy)
        return Caller(found.id, found.name)

    def _check_context(self, context_id: int, identity: Identity, who: str) -> None:
        """Raise unless the hypervisor says that the machine with this context id is the one that the certificate is of."""
        there = self._hypervisor.vm_with_context(context_id)
        if there == identity.vm:
            return
        if there is None:
            raise UnknownCaller(
                f"context id {context_id} shows the certificate of {identity.name}, and no machine of ours has that id",
                remedy="check that the virtual machine is enrolled itself, and is no copy",
            )
        self._alarms.sound(identity.vm, "a machine shows another one's key", of=identity.name, vm=str(there), peer=who)
        raise IdentityConflict(f"virtual machine {there} shows the certificate of {identity.name}")
