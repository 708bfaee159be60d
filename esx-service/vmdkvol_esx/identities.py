"""Who may speak as which VM: certificates and tokens on record, and the ports of who keeps them and who signs.

A certificate's name in the records is its fingerprint, the SHA-256 of its DER in hex: what is not on record speaks for nobody,
whoever signed it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vmdkvol.volume import VmId


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate that speaks for ``vm``, unless it is revoked. Times are UTC seconds since 1970.

    ``request`` is the SHA-256 of the signing request in hex: the same one gets the same certificate again.
    """

    fingerprint: str
    vm: VmId
    name: str
    issued_at: float
    not_after: float
    request: str
    certificate_pem: str
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A token as it is kept: ``hash`` of its secret, for which VM, until when. ``used_for`` is the request that used it."""

    hash: str
    vm: VmId
    name: str
    expires_at: float
    used_at: float | None = None
    used_for: str | None = None


def fingerprint(certificate: bytes) -> str:
    """Return by what a certificate's DER is known in the records."""
    return hashlib.sha256(certificate).hexdigest()


class Identities(Protocol):
    """The records. One transaction each; all of it or nothing."""

    def identity(self, fingerprint: str) -> Identity | None: ...
    def identities(self, vm: VmId | None = None) -> Sequence[Identity]:
        """Return all, or those of a VM, in the order in which they were issued; revoked ones too."""
        ...

    def tickets(self, vm: VmId | None = None) -> Sequence[Ticket]:
        """Return all tokens that are remembered, or those of a VM, in the order in which they end."""
        ...

    def ticket(self, hash: str) -> Ticket | None: ...
    def invite(self, ticket: Ticket) -> None:
        """Keep a new token. An older one of its VM that was not used counts no more; those of long ago are forgotten."""
        ...

    def enrol(self, identity: Identity, hash: str) -> bool:
        """Use the token up for this identity: it is on record, and every older one of its VM is revoked.

        False, and nothing is done, if the token is not there any more or was used meanwhile.
        """
        ...

    def renew(self, identity: Identity, keep: str) -> bool:
        """Put it on record beside the one with the fingerprint ``keep``; any third one of its VM is forgotten.

        False, and nothing is done, if that one is not on record for the same VM, or revoked.
        """
        ...

    def revoke(self, vm: VmId, now: float) -> int:
        """Revoke every identity of the VM, and forget its tokens that were not used; return how many that were."""
        ...


@dataclass(frozen=True, slots=True)
class Issued:
    """A signed certificate."""

    certificate_pem: str
    fingerprint: str
    not_after: float


class Signing(Protocol):
    """The site's authority."""

    @property
    def ca_pem(self) -> str:
        """Its certificate."""
        ...

    @property
    def pin(self) -> bytes:
        """The SHA-256 of its certificate's DER, see ``tokens``."""
        ...

    def check(self) -> None:
        """Raise NotPermitted unless it can sign: its key is there."""
        ...

    def sign(self, csr_pem: str, vm: VmId) -> Issued:
        """Return a certificate for the request's key that names ``vm``. BadRequest if it is none, or its key is too weak."""
        ...
