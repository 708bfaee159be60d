"""Which certificates the service looks at: its own, those that it was given, and those that agents have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from tests.doubles.certificates import Authority
from tests.doubles.hand_clock import HandClock
from tests.unit.esx.site import DS1
from vmdkvol.errors import TruthUnknown
from vmdkvol.volume import VmId
from vmdkvol_esx.certificates import Certificates
from vmdkvol_esx.identities import Identity
from vmdkvol_esx.pem import first_end
from vmdkvol_esx.settings import DatastoreSetting, ServiceSettings
from vmdkvol_esx.web_setting import WebSetting

A, B = VmId(UUID(int=0xA)), VmId(UUID(int=0xB))


class Store:
    """Has these identities on record."""

    def __init__(self, *known: Identity) -> None:
        self.known = known

    def identities(self) -> tuple[Identity, ...]:
        return self.known


def identity(vm: VmId, name: str, not_after: float, revoked_at: float | None = None) -> Identity:
    return Identity(f"{name}{not_after}", vm, name, 0.0, not_after, "", "", revoked_at)


def ends(settings: ServiceSettings, registry: object = None, *known: Identity) -> dict[str, tuple[float | None, str]]:
    made: Any = Certificates(settings, Store(*known), HandClock(), registry)  # type: ignore[arg-type]
    return {each.kind: (each.not_after, each.problem or each.of) for each in made.ends()}


def settings(folder: Path, **web: Any) -> ServiceSettings:
    stores = (DatastoreSetting(DS1, str(folder)),)
    return ServiceSettings(str(folder), stores, web=WebSetting(socket=str(folder / "web.sock"), **web))


@pytest.fixture
def site(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "site")


def test_what_the_api_s_doors_show_and_ask_for_is_looked_at(tmp_path: Path, site: Authority) -> None:
    shown = site.service("localhost")
    made = settings(tmp_path, listen="127.0.0.1:1", certificate_file=str(shown), admin_ca_file=str(site.path))
    assert ends(made) == {"api": (first_end(shown), ""), "administrators": (first_end(site.path), "")}


def test_a_file_that_is_gone_is_told_as_such_and_hides_no_other(tmp_path: Path, site: Authority) -> None:
    gone = tmp_path / "gone.pem"
    found = ends(settings(tmp_path, listen="127.0.0.1:1", certificate_file=str(gone), admin_ca_file=str(site.path)))
    assert found["api"] == (None, f"{gone} cannot be read: No such file or directory")
    assert found["administrators"][0] is not None


@pytest.mark.parametrize(
    "content", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff" * 99]
)
def test_a_file_without_a_certificate_has_no_end(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.pem"
    file.write_bytes(content)
    with pytest.raises(TruthUnknown, match="no certificate"):
        first_end(file)


def test_of_a_chain_the_first_to_end_counts(tmp_path: Path, site: Authority) -> None:
    one = site.service("localhost")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(one.read_bytes() + site.path.read_bytes())
    assert first_end(chain) == min(first_end(one), first_end(site.path))


def test_of_the_agents_the_newest_certificate_of_each_counts_and_the_first_of_these_is_told(
    tmp_path: Path, site: Authority
) -> None:
    registry = SimpleNamespace(authority=SimpleNamespace(not_after=9e9, service_file=site.service("localhost")))
    known = (
        identity(A, "a", 100.0),
        identity(A, "a", 900.0),
        identity(B, "b", 500.0),
        identity(VmId(UUID(int=3)), "gone", 1.0, revoked_at=2.0),
    )
    found = ends(settings(tmp_path), registry, *known)
    assert found["agents"] == (500.0, "first of 2: b")
    assert found["authority"] == (9e9, "")
    assert found["service"][0] is not None


def test_a_service_for_this_machine_alone_has_no_certificate_to_look_at(tmp_path: Path) -> None:
    assert ends(settings(tmp_path)) == {}
