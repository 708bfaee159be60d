"""This machine's key and certificate, in a directory of their own: each file whole at every moment, readable by root alone.

The ``openssl`` program makes keys and signing requests and reads certificates: Python's library can do neither.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from vmdkvol import durable
from vmdkvol.errors import BadFrame, Busy, NoSpace, NotPermitted, TruthUnknown, VolumeError
from vmdkvol_guest.linux import certificates
from vmdkvol_guest.linux.commands import Commands
from vmdkvol_guest.ports import Validity

# What it does takes milliseconds.
_OPENSSL_S = 30.0
# Without a file of the system's: a minimal installation has none.
_CONFIG = "[req]\ndistinguished_name=name\n[name]\n"


class CredentialFiles:
    """Implements ``Credentials``: key and certificate in one file, the authority in another, beside them what comes next."""

    def __init__(self, identity: Path, authority: Path, commands: Commands) -> None:
        self._identity, self._authority = identity, authority
        self._directory = identity.parent
        self._commands = commands

    @contextmanager
    def alone(self) -> Iterator[None]:
        try:
            with self._locked():
                yield
        except OSError as error:
            kind = NoSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else NotPermitted
            raise kind(
                f"this machine's identity in {self._directory} cannot be changed: {error.strerror or error}",
                remedy="see that the agent's state_dir can be written and has room, then try again with the same token",
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy("this machine is being enrolled or renewed by another process", remedy="wait for it") from None
            yield

    def exist(self) -> bool:
        return self._identity.exists()

    def validity(self) -> Validity | None:
        if not self.exist():
            return None
        found = certificates.read(self._commands, self._identity, self._authority)
        return Validity(found.begins, found.ends)

    def request(self) -> str:
        key, request = self._directory / "pending.key", self._directory / "pending.csr"
        if not self._usable(key, request):
            self._forget()
            (self._directory / "openssl.cnf").write_text(_CONFIG)
            self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{key}.new")
            durable.install(Path(f"{key}.new"), key)
            config = str(self._directory / "openssl.cnf")
            self._openssl(
                "req", "-new", "-config", config, "-key", str(key), "-subj", "/CN=vmdkvol-agent", "-out", f"{request}.new"
            )
            durable.install(Path(f"{request}.new"), request)
            if not self._fit(key, request):
                # On a full disk openssl says that all is well.
                raise NoSpace(f"openssl wrote no whole key and request into {self._directory}", remedy="make room there")
        return request.read_text()

    def install(self, certificate_pem: str, ca_pem: str) -> None:
        key = self._directory / "pending.key"
        fresh = durable.write_new(Path(f"{self._identity}.new"), key.read_bytes() + certificate_pem.encode())
        trusted = durable.write_new(Path(f"{self._authority}.new"), ca_pem.encode())
        try:
            self._check_pair(fresh, key)
            self._check_counts(fresh, trusted)
        except VolumeError:
            fresh.unlink()
            trusted.unlink()
            raise
        # The authority first: killed in between, the old certificate is of no use to it, and the same token still works.
        if not self._authority.exists() or self._authority.read_text() != ca_pem:
            durable.install(trusted, self._authority)
        trusted.unlink(missing_ok=True)
        durable.install(fresh, self._identity)
        self._forget()

    def _check_pair(self, fresh: Path, key: Path) -> None:
        of_certificate = self._openssl("x509", "-in", str(fresh), "-noout", "-pubkey")
        if of_certificate != self._openssl("pkey", "-in", str(key), "-pubout"):
            raise BadFrame("the service signed another key than the one that it was asked for")

    def _check_counts(self, fresh: Path, trusted: Path) -> None:
        """Raise BadFrame unless it counts here and now: the one before, which it would take the place of, still may."""
        found = certificates.read(self._commands, fresh, trusted)
        verified = self._commands.run(["openssl", "verify", "-CAfile", str(trusted), str(fresh)], seconds=_OPENSSL_S)
        if verified.code == 0:
            return
        if self._identity.exists():
            # The same request would bring the same certificate, made while the service's clock was wrong.
            self._forget()
        if not found.signed:
            raise BadFrame("the service gave a certificate of another authority than the one that is trusted here")
        begins, ends = (datetime.fromtimestamp(each, UTC).date() for each in (found.begins, found.ends))
        raise BadFrame(
            f"the service gave a certificate that counts from {begins} to {ends}, which is not now",
            remedy="set the clocks of this machine and of the service, then try again",
        )

    def _usable(self, key: Path, request: Path) -> bool:
        """Tell whether the pending request is one that was not installed yet."""
        if not (key.exists() and request.exists()):
            return False
        # Killed just after it was installed: asked for again, it would bring the same certificate for ever.
        installed = self._identity.exists() and key.read_bytes() in self._identity.read_bytes()
        return not installed and self._fit(key, request)

    def _fit(self, key: Path, request: Path) -> bool:
        """Tell whether both are whole, and the request is the key's."""
        asked = ["openssl", "req", "-config", str(self._directory / "openssl.cnf"), "-in", str(request), "-noout", "-pubkey"]
        of_request = self._commands.run(asked, seconds=_OPENSSL_S)
        of_key = self._commands.run(["openssl", "pkey", "-in", str(key), "-pubout"], seconds=_OPENSSL_S)
        return (of_request.code, of_key.code) == (0, 0) and of_request.output == of_key.output

    def _forget(self) -> None:
        for name in ("pending.csr", "pending.key"):
            (self._directory / name).unlink(missing_ok=True)

    def _openssl(self, *args: str) -> str:
        """Return the output; TruthUnknown with its last line if it fails, MissingTool if it is not installed."""
        done = self._commands.run(["openssl", *args], seconds=_OPENSSL_S)
        if done.code != 0:
            raise TruthUnknown(
                f"openssl {args[0]} failed: {done.last_line}", remedy=f"look at the files and the room in {self._directory}"
            )
        return done.output
