"""The doctor on the API's certificate: that it is there, whole, in time, with its key, and for whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.doubles.certificates import Authority
from tests.unit.esx.test_doctor import Place
from vmdkvol.errors import TruthUnknown
from vmdkvol.findings import FAIL, OK, WARN
from vmdkvol.settings import dump_toml
from vmdkvol_esx.api_certificate import Kept, judge
from vmdkvol_esx.pem import kept

NOW, DAY = 1_000_000_000.0, 86400.0
GOOD = Kept(("api.example.org", "192.0.2.9"), NOW - DAY, NOW + 90 * DAY, key_fits=True, key_open=False)


@pytest.mark.parametrize(
    ("seen", "status", "says"),
    [
        pytest.param(GOOD, OK, "/c.pem: for api.example.org, 192.0.2.9, 90 days more", id="right"),
        pytest.param(replace(GOOD, ends=NOW + 30 * DAY), WARN, "30 days more", id="a-month-left"),
        pytest.param(replace(GOOD, ends=NOW - 2 * DAY), FAIL, "/c.pem ended 2 days ago", id="over"),
        pytest.param(replace(GOOD, starts=NOW + DAY), FAIL, "begins to count in 1.0 days", id="not-yet"),
        pytest.param(replace(GOOD, key_fits=False), FAIL, "the key in /k.pem is not that of /c.pem", id="another-s-key"),
        pytest.param(replace(GOOD, key_open=True), FAIL, "others than its owner may read the key /k.pem", id="a-key-for-all"),
        pytest.param(replace(GOOD, names=()), WARN, "for no name", id="no-name"),
        pytest.param(replace(GOOD, names=tuple(f"n{i}" for i in range(12))), OK, "n9 and 2 more", id="many-names"),
        pytest.param(replace(GOOD, ends=NOW - DAY, key_fits=False, names=()), FAIL, "is not that of", id="the-worst-first"),
    ],
)
def test_what_is_made_of_it(seen: Kept, status: str, says: str) -> None:
    found = judge("/c.pem", "/k.pem", seen, NOW)
    assert found.status == status
    assert says in found.finding
    assert bool(found.fix) == (status != OK)


def test_a_certificate_with_its_key_is_read_as_it_lies_there(tmp_path: Path) -> None:
    path = Authority(tmp_path).service("api.example.org", ends=40.0)
    path.chmod(0o600)
    seen = kept(path, path)
    assert (seen.names, seen.key_fits, seen.key_open) == (("api.example.org",), True, False)
    assert round((seen.ends - seen.starts) / DAY) == 42


def test_another_ones_key_does_not_fit(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    assert not kept(authority.service("a"), authority.service("b")).key_fits


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_unknown(tmp_path: Path, content: bytes) -> None:
    whole, broken = Authority(tmp_path).service(), tmp_path / "broken.pem"
    broken.write_bytes(content)
    with pytest.raises(TruthUnknown, match="no certificate"):
        kept(broken, whole)
    with pytest.raises(TruthUnknown, match="no key"):
        kept(whole, broken)
    with pytest.raises(TruthUnknown, match="cannot be read"):
        kept(whole, tmp_path / "nothing.pem")


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    made = Place(tmp_path, capsys)
    web = {"listen": "127.0.0.1:1020", "certificate_file": str(tmp_path / "web.pem")}
    made.config.write_text(made.config.read_text() + "\n" + dump_toml({"web": web}))
    return made


def test_the_doctor_tells_of_it_where_the_api_listens(place: Place) -> None:
    path = Authority(place.folder).service("api.example.org")
    path.chmod(0o600)
    path.rename(place.folder / "web.pem")
    assert place.status()["API certificate"] == OK


def test_the_doctor_fails_without_it(place: Place) -> None:
    code, text = place.command("doctor")
    assert (code, "web.pem cannot be read: No such file" in text) == (2, True)
