"""A token becomes an identity, once, and an identity is renewed before it is over."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from typing import Any

from vmdkvol.clock import Clock
from vmdkvol.errors import Busy, NotEnrolled, NotPermitted
from vmdkvol.messages import Authority, Call, Enroll, Enrolled, Introduce, Renew, Request
from vmdkvol.tokens import Token
from vmdkvol.volume import VmId
from vmdkvol_esx.alarms import Alarms
from vmdkvol_esx.callers import Proof
from vmdkvol_esx.identities import Identities, Identity, Signing, Ticket
from vmdkvol_esx.ports import Hypervisor, Log

# Each certificate is a row of the database: a machine gets no more than one in this time.
RENEWED_S = 60.0
_NEW_TOKEN = "ask for a new token (`vmdkvol vm enroll`)"


class Ours(Collection[VmId]):
    """The machines of the service: those of the settings, and those that are, were or may be enrolled. Only ever more.

    One that is revoked stays: it may still have disks. Safe for any number of threads.
    """

    def __init__(self, vms: Collection[VmId] = ()) -> None:
        self._vms = dict.fromkeys(vms)

    def add(self, vm: VmId) -> None:
        self._vms[vm] = None

    def __contains__(self, vm: object) -> bool:
        return vm in self._vms

    def __iter__(self) -> Iterator[VmId]:
        # A copy at one moment: another thread may add one.
        return iter(tuple(self._vms))

    def __len__(self) -> int:
        return len(self._vms)


class Enrolling:
    """For any thread. ``ended`` is told whose older certificates do not count any more."""

    def __init__(
        self,
        records: Identities,
        authority: Signing,
        hypervisor: Hypervisor,
        clock: Clock,
        log: Log,
        alarms: Alarms,
        ended: Callable[[VmId], None],
    ) -> None:
        self._records = records
        self._authority = authority
        self._hypervisor = hypervisor
        self._clock = clock
        self._log = log
        self._alarms = alarms
        self._ended = ended
        # What each machine showed last: that one is certainly in its hands.
        self._shown: dict[VmId, str] = {}

    def stranger(self, request: Request[Any], call: Call, proof: Proof) -> Any:
        """Answer what may be asked without Hello."""
        match request:
            case Introduce():
                return Authority(self._authority.ca_pem)
            case Enroll():
                return self.enroll(request, proof)
            case _:
                raise NotPermitted(f"{type(request).__name__} is not for strangers")

    def enroll(self, request: Enroll, proof: Proof) -> Enrolled:
        """See ``messages.Enroll``. The second use of a token by another key is an alarm: somebody else has read it."""
        token = Token.parse(request.token)
        asked = _digest(request.csr_pem)
        ticket = self._valid(token, asked, proof)
        if ticket.used_at is None:
            self._check_machine(ticket, proof)
            identity = self._signed(request.csr_pem, asked, ticket.vm, ticket.name)
            if self._records.enrol(identity, token.hash):
                self._log.info("machine enrolled", vm=ticket.name, id=str(ticket.vm), peer=proof.text)
                self._ended(ticket.vm)
                return self._answer(identity)
            # Used, or taken back, at this moment.
            ticket = self._valid(token, asked, proof)
        return self._answer(self._issued(ticket, asked))

    def renew(self, caller: VmId, request: Renew) -> Enrolled:
        """See ``messages.Renew``."""
        standing = [each for each in self._records.identities(caller) if each.revoked_at is None]
        if not standing:
            raise NotEnrolled(f"{caller} has no certificate on record", remedy="leave it as it is, or enrol this machine")
        asked = _digest(request.csr_pem)
        known = next((each for each in standing if each.request == asked), None)
        if known is not None:
            return self._answer(known)
        age_s = self._clock.wall() - standing[-1].issued_at
        if 0.0 <= age_s < RENEWED_S:
            raise Busy(f"{standing[-1].name} got a certificate {age_s:.0f} s ago", remedy="try again in a minute")
        identity = self._signed(request.csr_pem, asked, caller, standing[-1].name)
        if not self._records.renew(identity, self._kept(caller, standing)):
            raise NotEnrolled(f"the certificates of {standing[-1].name} were revoked")
        self._log.info("certificate renewed", vm=identity.name, id=str(caller))
        return self._answer(identity)

    def presented(self, vm: VmId, fingerprint: str) -> None:
        """Hear which certificate a machine showed."""
        self._shown[vm] = fingerprint

    # --- inside --------------------------------------------------------------------------------------------------

    def _valid(self, token: Token, asked: str, proof: Proof) -> Ticket:
        """Return the ticket of a token that may be used by this request: for the first time, or once more."""
        ticket = self._records.ticket(token.hash)
        if ticket is None or token.pin != self._authority.pin:
            raise NotPermitted("the service does not know this token, or took it back", remedy=_NEW_TOKEN)
        if ticket.used_at is not None and ticket.used_for != asked:
            self._alarms.sound(
                ticket.hash, "a token was used twice: somebody else may have read it", vm=ticket.name, peer=proof.text
            )
            raise NotPermitted(f"the token for {ticket.name} was used already", remedy=_NEW_TOKEN)
        if self._clock.wall() >= ticket.expires_at:
            raise NotPermitted(f"the token for {ticket.name} is over: it counts for an hour", remedy=_NEW_TOKEN)
        return ticket

    def _check_machine(self, ticket: Ticket, proof: Proof) -> None:
        """Raise NotPermitted if the token's machine is not there, or, as far as the channel tells, another one asks."""
        if self._hypervisor.vm(ticket.vm) is None:
            raise NotPermitted(f"virtual machine {ticket.name} ({ticket.vm}) is gone", remedy=_NEW_TOKEN)
        if proof.context_id is not None and self._hypervisor.vm_with_context(proof.context_id) != ticket.vm:
            self._alarms.sound(ticket.hash, "a token came from another machine than it is for", vm=ticket.name, peer=proof.text)
            raise NotPermitted(f"the token is for {ticket.name}, and {proof.text} is another machine", remedy=_NEW_TOKEN)

    def _issued(self, ticket: Ticket, asked: str) -> Identity:
        """Return what the token's first use was answered with: that answer was lost on its way."""
        for each in self._records.identities(ticket.vm):
            if each.request == asked and each.revoked_at is None:
                return each
        raise NotPermitted(f"what the token for {ticket.name} gave was revoked", remedy=_NEW_TOKEN)

    def _signed(self, csr_pem: str, asked: str, vm: VmId, name: str) -> Identity:
        issued = self._authority.sign(csr_pem, vm)
        return Identity(
            issued.fingerprint, vm, name, self._clock.wall(), issued.not_after, asked, issued.certificate_pem, revoked_at=None
        )

    def _kept(self, vm: VmId, standing: list[Identity]) -> str:
        shown = self._shown.get(vm)
        return shown if any(each.fingerprint == shown for each in standing) and shown else standing[-1].fingerprint

    def _answer(self, identity: Identity) -> Enrolled:
        return Enrolled(identity.certificate_pem, self._authority.ca_pem, identity.vm, identity.name)


def _digest(csr_pem: str) -> str:
    return hashlib.sha256(csr_pem.encode()).hexdigest()
