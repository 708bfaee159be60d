"""What enrolment is tested with: a small site, records in memory, an authority that signs without any cryptography."""

from __future__ import annotations

import base64
import hashlib
import itertools
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

from tests.doubles.hand_clock import HandClock
from tests.unit.esx.site import Kept
from vmdkvol.errors import BadRequest, NotPermitted, VolumeError
from vmdkvol.messages import Hello
from vmdkvol.tokens import pin_of
from vmdkvol.volume import VmId
from vmdkvol_esx.alarms import Alarms
from vmdkvol_esx.callers import Callers, Proof
from vmdkvol_esx.enrolling import Enrolling, Ours
from vmdkvol_esx.enrolments import Enrolments
from vmdkvol_esx.identities import Issued, fingerprint
from vmdkvol_esx.ports import Hypervisor, Vm
from vmdkvol_esx.store import SqlStore, open_store

HOST, OTHER, SOCKET_HOST = VmId(UUID(int=1)), VmId(UUID(int=2)), VmId(UUID(int=3))
DAY_S = 86400.0
LEAF_S = 90 * DAY_S


class Machines:
    """The part of a hypervisor that tells who is who."""

    def __init__(self) -> None:
        self.known = {
            HOST: Vm(HOST, "host", running=True),
            OTHER: Vm(OTHER, "other", running=True),
            SOCKET_HOST: Vm(SOCKET_HOST, "socket-host", running=True),
        }
        self.contexts = {11: HOST, 12: OTHER}
        self.error: VolumeError | None = None
        # A machine that another one has the id of.
        self.twice: VmId | None = None

    def vm(self, vm: VmId) -> Vm | None:
        self._check()
        return self.known.get(vm)

    def machines(self) -> list[Vm]:
        self._check()
        return [*self.known.values(), *([self.known[self.twice]] if self.twice else [])]

    def vm_with_context(self, context_id: int) -> VmId | None:
        self._check()
        return self.contexts.get(context_id)

    def _check(self) -> None:
        if self.error is not None:
            raise self.error


class SigningByHand:
    """A certificate is its request, the VM and a number."""

    ca_pem = "the authority's certificate"
    pin = pin_of(b"the authority's certificate")

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self._numbers = itertools.count()
        self.has_key = True

    def check(self) -> None:
        if not self.has_key:
            raise NotPermitted("the authority's key is missing")

    def sign(self, csr_pem: str, vm: VmId) -> Issued:
        self.check()
        if not csr_pem.startswith("csr"):
            raise BadRequest("this is no signing request")
        certificate = f"{csr_pem} of {vm} {next(self._numbers)}"
        return Issued(certificate, fingerprint(der(certificate)), self._clock.wall() + LEAF_S)


def der(pem: str) -> bytes:
    """What the channel shows of a certificate that was signed by hand."""
    return base64.b64encode(pem.encode())


@dataclass(slots=True)
class Registry:
    """All that knows of identities, over records in memory."""

    clock: HandClock = field(default_factory=lambda: HandClock(wall=1_700_000_000.0))
    machines: Machines = field(default_factory=Machines)
    log: Kept = field(default_factory=Kept)
    ended: list[VmId] = field(default_factory=list)
    connected: set[VmId] = field(default_factory=set)
    given: list[tuple[VmId, str]] = field(default_factory=list)
    ours: Ours = field(default_factory=lambda: Ours([SOCKET_HOST]))
    store: SqlStore = field(init=False)
    signing: SigningByHand = field(init=False)
    enrolling: Enrolling = field(init=False)
    callers: Callers = field(init=False)
    enrolments: Enrolments = field(init=False)

    def __post_init__(self) -> None:
        self.store = open_store(None, self.clock)
        self.signing = SigningByHand(self.clock)
        alarms = Alarms(self.clock, self.log)
        hypervisor = cast(Hypervisor, self.machines)
        self.enrolling = Enrolling(self.store, self.signing, hypervisor, self.clock, self.log, alarms, self.ended.append)
        self.callers = Callers(hypervisor, self.store, self.clock, alarms, self.enrolling.presented)
        numbers = itertools.count()
        self.enrolments = Enrolments(
            self.store,
            self.signing,
            hypervisor,
            self.ours,
            frozenset([SOCKET_HOST]),
            self.clock,
            self.log,
            lambda count: hashlib.sha256(str(next(numbers)).encode()).digest()[:count],
            self.connected.__contains__,
            self.ended.append,
            lambda vm, token: self.given.append((vm, token)),
        )

    @property
    def alarms(self) -> list[str]:
        return [line.event for line in self.log.lines if line.level == "error"]


def hello(boot_id: str = "boot") -> Hello:
    return Hello(3, 3, "agent", boot_id)


def from_tcp(certificate: str | None = None, text: str = "10.0.0.1:1234") -> Proof:
    return Proof(None, None, None if certificate is None else der(certificate), None, text)


def from_vsock(context_id: int, certificate: str | None = None) -> Proof:
    return Proof(None, None, None if certificate is None else der(certificate), context_id, f"vsock {context_id}")
