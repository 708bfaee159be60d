"""A service at a real port, in this process, and machines that come to it with keys of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.doubles.hand_clock import HandClock
from vmdkvol.addresses import Address, TcpAddress, UnixAddress
from vmdkvol.admin_messages import EnrollVm
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.dialing import ask_once
from vmdkvol.line import Line
from vmdkvol.messages import Call, Enroll, Enrolled, Introduce, Request
from vmdkvol.names import DatastoreName
from vmdkvol.tls import AgentSide, StrangerSide
from vmdkvol.volume import VmId
from vmdkvol_esx.authority import CertificateAuthority
from vmdkvol_esx.composing import Service, compose
from vmdkvol_esx.settings import DatastoreSetting, HostSetting, ServiceSettings
from vmdkvol_guest.enrolling import enroll
from vmdkvol_guest.linux.commands import Commands
from vmdkvol_guest.linux.credentials import CredentialFiles

R = TypeVar("R")
CLOCK = SystemClock()
A, B = VmId(UUID(int=0xA)), VmId(UUID(int=0xB))
DAY_S = 86400.0


class Site:
    """A service, and machines that come to it. ``close`` ends all of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "ds1").mkdir(exist_ok=True)
        hosts = (HostSetting("a", A), HostSetting("b", B))
        stores = (DatastoreSetting(DatastoreName("ds1"), str(root / "ds1")),)
        admin = str(root / "admin.sock")
        self.settings = ServiceSettings(
            str(root / "state"), stores, hosts=hosts, listen=("tcp://127.0.0.1:0",), admin_socket=admin, trash_retention_s=0.0
        )
        self.lines: list[Line] = []
        self.service: Service = compose(self.settings).start()

    @property
    def address(self) -> TcpAddress:
        (found,) = (each for each in self.service.server.addresses if isinstance(each, TcpAddress))
        return found

    @property
    def authority(self) -> CertificateAuthority:
        """The site's, to sign what it would not."""
        directory = Path(self.settings.authority)
        key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return CertificateAuthority(directory, x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes()), key, CLOCK)

    def admin(self) -> Line:
        return self._line(UnixAddress(Path(self.settings.admin_socket)), None, "admin")

    def line(self, folder: Folder, boot_id: str = "boot") -> Line:
        return self._line(self.address, AgentSide(folder.identity, folder.ca), boot_id)

    def token(self, vm: VmId = A) -> str:
        return ask(self.admin(), EnrollVm(str(vm))).token

    def enrol(self, folder: Folder, vm: VmId = A) -> None:
        assert folder.enroll(self.address, self.token(vm)) == vm

    def close(self) -> None:
        for line in self.lines:
            line.close()
        self.service.stop()

    def restart(self, between: Callable[[], object] = lambda: None) -> None:
        self.close()
        self.lines.clear()
        between()
        self.service = compose(self.settings).start()

    def _line(self, address: Address, secure: AgentSide | None, boot_id: str) -> Line:
        line = Line(address, CLOCK, agent="test", boot_id=boot_id, secure=secure, first_pause_s=0.01).start()
        self.lines.append(line)
        return line


class Folder:
    """Where a machine keeps who it is."""

    def __init__(self, directory: Path) -> None:
        self.identity, self.ca = directory / "identity" / "agent.pem", directory / "identity" / "ca.pem"
        self.files = CredentialFiles(self.identity, self.ca, Commands(CLOCK))

    def enroll(self, address: Address, token: str) -> VmId:
        introduce = partial(ask_once, address, Introduce(), CLOCK, 20.0, StrangerSide(None))
        return enroll(token, self.files, introduce, partial(self._ask, address)).vm

    def _ask(self, address: Address, request: Enroll, ca_pem: str) -> Enrolled:
        return ask_once(address, request, CLOCK, 20.0, StrangerSide(ca_pem))

    def put(self, authority: CertificateAuthority, vm: VmId, *, at: float = 0.0) -> str:
        """Give it a certificate that was signed ``at`` seconds from now, and that nobody has on record; return it."""
        self.identity.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        signer = CertificateAuthority(
            authority._directory, authority._certificate, authority._key, HandClock(CLOCK.wall() + at)
        )
        with self.files.alone():
            issued = signer.sign(self.files.request(), vm)
        # By hand: what does not count now is not installed.
        pending = self.identity.with_name("pending.key")
        self.identity.write_text(pending.read_text() + issued.certificate_pem)
        self.ca.write_text(authority.ca_pem)
        return issued.certificate_pem


def at_another_time(authority: CertificateAuthority, seconds: float) -> CertificateAuthority:
    """Return the authority with a clock that is so many seconds off."""
    clock = HandClock(CLOCK.wall() + seconds)
    return CertificateAuthority(authority._directory, authority._certificate, authority._key, clock)


def ask(line: Line, request: Request[R], seconds: float = 60.0) -> R:
    return line.ask(request, Call(uuid4(), Deadline.after(CLOCK, seconds)))
