"""The files that TLS shows are renewed while connections are made: each is whole, and OpenSSL opens it twice."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path, PosixPath

import pytest

from tests.doubles.certificates import Authority
from tests.doubles.channel_ends import VM_1
from vmdkvol.errors import MetadataDamaged, NotEnrolled
from vmdkvol.tls import AgentSide, ServiceSide


class RenewedMeanwhile(PosixPath):
    """A file that is renewed between its first two readers so many times: they see a key and a certificate of two pairs."""

    times: int
    mixed: Path

    def __fspath__(self) -> str:
        self.times -= 1
        return str(self) if self.times < 0 else str(self.mixed)


def renewed(authority: Authority, folder: Path, times: int) -> RenewedMeanwhile:
    mixed, own, other = folder / "mixed.pem", authority.agent(VM_1), authority.agent(VM_1).read_text()
    mixed.write_text(other[: other.index("-----BEGIN CERT")] + own.read_text()[own.read_text().index("-----BEGIN CERT") :])
    made = RenewedMeanwhile(own)
    made.times, made.mixed = times, mixed
    return made


SIDES: list[Callable[[Path, Path], Callable[[socket.socket], object]]] = [AgentSide, ServiceSide]


@pytest.mark.parametrize("side", SIDES)
def test_a_certificate_that_is_renewed_while_it_is_read_is_read_anew(
    tmp_path: Path, side: Callable[[Path, Path], Callable[[socket.socket], object]]
) -> None:
    authority = Authority(tmp_path)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        side(renewed(authority, tmp_path, 1), authority.path)(ours)


@pytest.mark.parametrize("side", SIDES)
def test_a_certificate_of_another_key_is_told_at_once(
    tmp_path: Path, side: Callable[[Path, Path], Callable[[socket.socket], object]]
) -> None:
    authority = Authority(tmp_path)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises((NotEnrolled, MetadataDamaged), match="(?i)mismatch"):
        side(renewed(authority, tmp_path, 1000), authority.path)(ours)
