"""TLS 1.3 around a connection, with certificates of the site's own authority on both ends (design D2).

The one place of shared code that knows ``ssl``. The bytes go through memory, so that the thread that owns a connection waits
for nobody's handshake. Nothing is resumed, compressed or renegotiated: each connection proves anew who is there.
"""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

from vmdkvol.errors import BadFrame, MetadataDamaged, NotEnrolled, ProtocolVersion, UnknownCaller, VolumeError
from vmdkvol.frames import VDVS_MAGIC, spoken_by_vdvs

# What the service's certificate must be for, whatever address it is reached at.
SERVICE_NAME = "vmdkvol-service"
# What one TLS record holds (RFC 8446, 5.1).
_RECORD = 16 << 10
# What may wait until the peer reads, beside frames: a handshake, and what TLS itself answers, a new key for each new key.
_UNREAD = 64 << 10
# RFC 8446, 6: the alerts of a peer that does not take our certificate, in OpenSSL's words.
_REFUSED = ("UNKNOWN_CA", "CERTIFICATE", "ACCESS_DENIED", "DECRYPT_ERROR")
_ADDRESS = "check the service's address; if the site has a new authority, enrol this machine again"
_CLOCK = "check the clocks of both machines; if they are right, enrol this machine again"
# X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED; OpenSSL's alerts to whoever showed such a one.
_TIMES, _OF_TIMES = (9, 10), ("BAD_CERTIFICATE", "CERTIFICATE_EXPIRED")
_ENROLL = "enrol this machine again: `vmdkvol vm enroll NAME`, then `vmdkvol-agent enroll TOKEN`"


class Secured:
    """A ``Stream`` inside TLS. Reading and sending may be two threads'; the TLS object between them has a lock."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, name: str | None) -> None:
        """``name`` is the one that the peer must have, None on the service's side."""
        self._socket = connection
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._serves = name is None
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=self._serves, server_hostname=name)
        self._lock = threading.Lock()
        self._encrypted = bytearray()
        # The service's first bytes of a peer, until it is clear that they are no guest's of the predecessor.
        self._first: bytes | None = b"" if self._serves else None
        self.ready = False
        self.ended = False
        self.certificate: bytes | None = None
        self.moved = 0
        self.fileno = connection.fileno
        if not self._serves:
            with self._lock:
                self._advance(_RECORD)

    @property
    def sending(self) -> bool:
        return bool(self._encrypted)

    def receive(self, limit: int) -> bytes:
        piece = self._socket.recv(limit)
        if not piece:
            return b""
        with self._lock:
            self._incoming.write(self._past_first(piece))
            found = self._advance(limit)
        if not found and not self.ended:
            raise BlockingIOError
        return found

    def send(self, data: bytearray) -> int:
        with self._lock:
            self._push()
            if not self.ready:
                raise BlockingIOError
            taken = self._tls.write(bytes(data[:_RECORD])) if data else 0
            self._push_what_goes()
            return taken

    def close(self) -> None:
        self._socket.close()

    def _past_first(self, piece: bytes) -> bytes:
        """Return what TLS may see. ProtocolVersion for a guest of vDVS, which speaks first and in the clear."""
        if self._first is None:
            return piece
        first = self._first + piece
        if first.startswith(VDVS_MAGIC):
            raise spoken_by_vdvs()
        if VDVS_MAGIC.startswith(first):
            self._first = first
            return b""
        self._first = None
        return first

    def _advance(self, limit: int) -> bytes:
        """Go on with the handshake, then with what has come; the lock is held. Raises what the peer did wrong."""
        found = []
        try:
            if not self.ready:
                self._tls.do_handshake()
                self.certificate = self._tls.getpeercert(binary_form=True)
                self.ready = True
            while True:
                found.append(self._tls.read(limit))
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            # With the alert, so that the peer hears why.
            self._push_what_goes()
            raise self._trouble(error) from error
        self._push_what_goes()
        return b"".join(found)

    def _push_what_goes(self) -> None:
        try:
            self._push()
        except OSError:
            # Blocked: the rest goes when the kernel takes it. Gone: that is found by reading.
            pass
        if len(self._encrypted) > _UNREAD:
            raise BadFrame(f"the peer has more than {_UNREAD} bytes answered by TLS and reads none of them")

    def _push(self) -> None:
        self._encrypted += self._outgoing.read()
        try:
            while self._encrypted:
                sent = self._socket.send(self._encrypted)
                del self._encrypted[:sent]
                self.moved += sent
        except (BlockingIOError, InterruptedError):
            raise
        except OSError:
            self._encrypted.clear()
            raise

    def _trouble(self, error: ssl.SSLError) -> VolumeError:
        reason = error.reason or str(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            why, late = error.verify_message.rstrip("."), error.verify_code in _TIMES
            if self._serves:
                return NotEnrolled(f"the caller's certificate is not taken: {why}", remedy=_CLOCK if late else _ENROLL)
            if late:
                return UnknownCaller(f"the service's certificate does not count now: {why}", remedy=_CLOCK)
            return UnknownCaller(f"what answers is not this site's service: {why}", remedy=_ADDRESS)
        if any(word in reason for word in _REFUSED):
            remedy = _CLOCK if any(word in reason for word in _OF_TIMES) else _ENROLL
            if self._serves:
                return UnknownCaller(f"the caller does not take the service's certificate: {_words(reason)}", remedy=remedy)
            return NotEnrolled(f"the service does not take this machine's certificate: {_words(reason)}", remedy=remedy)
        if "PROTOCOL_VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
            return ProtocolVersion("the peer does not speak TLS 1.3", remedy="upgrade it")
        return BadFrame(f"what came is not TLS of this protocol: {_words(reason)}")


class ServiceSide:
    """Secures what the service accepts. A caller need not show a certificate, but one that it shows must be of the site."""

    def __init__(self, identity: Path, authority: Path) -> None:
        """``identity`` holds the service's key and certificate, ``authority`` the site's; both PEM. See ``renew``."""
        self._identity, self._authority = identity, authority
        self._context = self._read()

    def renew(self) -> None:
        """Read both files again, for the connections from now on. Raises MetadataDamaged: then what was read before stays."""
        self._context = self._read()

    def __call__(self, connection: socket.socket) -> Secured:
        return Secured(connection, self._context, None)

    def _read(self) -> ssl.SSLContext:
        context = _context(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.num_tickets = 0
        try:
            context.load_verify_locations(self._authority)
            _show(context, self._identity)
        except (OSError, ValueError) as error:
            raise MetadataDamaged(f"the service's certificate in {self._identity.parent} cannot be used: {error}") from error
        return context


class AgentSide:
    """Secures what the agent connects, with the certificate that lies there at that moment."""

    def __init__(self, identity: Path, authority: Path) -> None:
        """``identity`` holds the agent's key and certificate, ``authority`` the site's; both PEM, and may come later."""
        self._identity, self._authority = identity, authority

    def __call__(self, connection: socket.socket) -> Secured:
        """Raises NotEnrolled without both files, or if they are no use."""
        return Secured(connection, self._read(), SERVICE_NAME)

    def check(self) -> None:
        """Raise NotEnrolled where a call would, before there is a connection: who has no certificate knocks in vain."""
        self._read()

    def _read(self) -> ssl.SSLContext:
        context = _context(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(self._authority)
            _show(context, self._identity)
        except FileNotFoundError as error:
            raise NotEnrolled(f"this machine has no certificate: there is no {self._missing()}", remedy=_ENROLL) from error
        except (OSError, ValueError) as error:
            raise NotEnrolled(f"the certificate in {self._identity} cannot be used: {error}", remedy=_ENROLL) from error
        return context

    def _missing(self) -> Path:
        return self._identity if not self._identity.exists() else self._authority


class StrangerSide:
    """Secures a connection of somebody who has no certificate yet, such as one that enrols."""

    def __init__(self, authority_pem: str | None) -> None:
        """The peer must be the service of this authority; None: it may be anybody, and nothing secret may be said to it."""
        self._context = _context(ssl.PROTOCOL_TLS_CLIENT)
        if authority_pem is None:
            self._context.check_hostname = False
            self._context.verify_mode = ssl.CERT_NONE
            return
        try:
            self._context.load_verify_locations(cadata=authority_pem)
        except (OSError, ValueError) as error:
            raise UnknownCaller(f"the site's authority cannot be read: {error}", remedy=_ADDRESS) from error

    def __call__(self, connection: socket.socket) -> Secured:
        return Secured(connection, self._context, SERVICE_NAME)


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    return context


def _show(context: ssl.SSLContext, identity: Path) -> None:
    """Have the context show this key and certificate. OpenSSL opens the file for each: renewed in between, it is read anew."""
    try:
        context.load_cert_chain(identity)
    except ssl.SSLError as error:
        if error.reason != "KEY_VALUES_MISMATCH":
            raise
        context.load_cert_chain(identity)


def _words(reason: str) -> str:
    return reason.replace("_", " ").lower()
