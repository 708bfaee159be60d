"""The tokens of the REST API: made once, kept as hashes, ended."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.doubles.hand_clock import HandClock
from tests.unit.esx.site import Kept
from vmdkvol.admin_errors import NotAuthenticated
from vmdkvol.errors import BadRequest, Conflict, MetadataDamaged, NotFound
from vmdkvol.orders import Actor, Role
from vmdkvol_esx.web.login import Login, by_certificate
from vmdkvol_esx.web.token_file import MOST_DAYS, TokenFile, Tokens, read


class Office:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = HandClock(wall=1_000_000.0)
        self.file = TokenFile(path, self.clock)
        self.log = Kept()
        self.tokens = Tokens(path, self.clock, self.log)  # type: ignore[arg-type]  # it needs three of the levels


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path / "state" / "tokens.json")


def test_a_token_is_known_by_what_it_is_and_kept_as_a_hash(office: Office) -> None:
    secret, made = office.file.add("ann", Role.VIEWER, 1)
    assert office.tokens.find(secret.reveal()) == made
    assert secret.reveal() not in office.path.read_text()
    assert "ann" not in secret.reveal()
    assert stat.S_IMODE(office.path.stat().st_mode) == 0o600
    assert secret.reveal() not in repr((secret, made))


def test_a_token_ends_with_its_last_day(office: Office) -> None:
    secret, _ = office.file.add("ann", Role.VIEWER, 1)
    office.clock.pass_time(86399.0)
    assert office.tokens.find(secret.reveal()) is not None
    office.clock.pass_time(1.0)
    assert office.tokens.find(secret.reveal()) is None


def test_no_two_tokens_are_the_same_and_a_name_has_one(office: Office) -> None:
    first, _ = office.file.add("ann", Role.VIEWER, 1)
    with pytest.raises(Conflict):
        office.file.add("ann", Role.ADMIN, 1)
    second, _ = office.file.add("bob", Role.VIEWER, 1)
    assert first.reveal() != second.reveal()
    office.clock.pass_time(90000.0)
    third, _ = office.file.add("ann", Role.ADMIN, 1)
    assert [each.name for each in read(office.path)].count("ann") == 1
    assert office.tokens.find(third.reveal()) is not None


def test_a_revoked_token_counts_no_more(office: Office) -> None:
    secret, _ = office.file.add("ann", Role.VIEWER, 1)
    other, _ = office.file.add("bob", Role.VIEWER, 1)
    assert office.tokens.find(secret.reveal()) is not None
    office.file.remove("ann")
    assert office.tokens.find(secret.reveal()) is None
    assert office.tokens.find(other.reveal()) is not None
    with pytest.raises(NotFound):
        office.file.remove("ann")


@pytest.mark.parametrize("name", ["", "root", "a b", "../x", "a\nb", "-x", "x" * 65, "ä", "a;b", "$(x)"])
def test_what_is_no_name_gets_no_token(office: Office, name: str) -> None:
    with pytest.raises(BadRequest):
        office.file.add(name, Role.VIEWER, 1)
    assert not office.path.exists()


@pytest.mark.parametrize("days", [0, -1, MOST_DAYS + 1])
def test_a_token_counts_for_some_days(office: Office, days: int) -> None:
    with pytest.raises(BadRequest):
        office.file.add("ann", Role.VIEWER, days)


def test_without_a_file_nobody_has_a_token(office: Office) -> None:
    assert office.tokens.find("vmdkvol_x") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"tokens": 3}',
        b'{"tokens": [{"name": "ann"}]}',
        b'{"tokens": [{"name": "root", "role": "admin", "hash": "", "created_at": 1, "expires_at": 2}]}',
        b'{"tokens": [{"name": "ann", "role": "god", "hash": "", "created_at": 1, "expires_at": 2}]}',
        b'{"tokens": [{"name": "ann", "role": "admin", "hash": 3, "created_at": 1, "expires_at": 2}]}',
        b'{"tokens": [{"name": "ann", "role": "admin", "hash": "", "created_at": 1, "expires_at": "2"}]}',
        b"\xff",
    ],
)
def test_a_damaged_file_lets_nobody_in_and_is_not_written_over(office: Office, content: bytes) -> None:
    office.path.parent.mkdir()
    office.path.touch(0o600)
    office.path.write_bytes(content)
    with pytest.raises(MetadataDamaged):
        office.tokens.find("vmdkvol_x")
    assert office.log.events("error") == ["no token counts"]
    with pytest.raises(MetadataDamaged):
        office.file.add("ann", Role.VIEWER, 1)
    assert office.path.read_bytes() == content


def test_a_file_that_others_may_write_lets_nobody_in(office: Office) -> None:
    secret, _ = office.file.add("ann", Role.ADMIN, 1)
    assert office.tokens.find(secret.reveal()) is not None
    office.path.chmod(0o620)
    with pytest.raises(MetadataDamaged):
        office.tokens.find(secret.reveal())


def test_a_change_by_hand_counts_at_once(office: Office) -> None:
    secret, _ = office.file.add("ann", Role.VIEWER, 1)
    assert office.tokens.find(secret.reveal()) is not None
    data = json.loads(office.path.read_text())
    data["tokens"][0]["role"] = "operator"
    office.path.write_text(json.dumps(data))
    found = office.tokens.find(secret.reveal())
    assert found is not None
    assert found.role is Role.OPERATOR


def test_a_token_that_is_shown_says_who_it_is_wherever(office: Office) -> None:
    secret, _ = office.file.add("ann", Role.VIEWER, 1)
    login = Login(office.tokens, office.log)  # type: ignore[arg-type]  # it needs three of the levels
    seen = {"HTTP_AUTHORIZATION": f"Bearer {secret.reveal()}", "REMOTE_ADDR": "192.0.2.7", "HTTP_X_FORWARDED_FOR": "10.0.0.1"}
    assert login.actor(seen) == Actor("ann", Role.VIEWER, "192.0.2.7")
    with pytest.raises(NotAuthenticated):
        login.actor({"REMOTE_ADDR": "192.0.2.7"})
    assert secret.reveal() not in repr(office.log.lines)


def _subject(*pairs: tuple[str, str]) -> dict[str, object]:
    return {"subject": tuple((pair,) for pair in pairs)}


def test_a_certificate_names_one_person_with_one_role() -> None:
    shown = _subject(("organizationName", "x"), ("organizationalUnitName", "operator"), ("commonName", "ann"))
    assert by_certificate(shown, "192.0.2.7") == Actor("ann", Role.OPERATOR, "192.0.2.7")
    assert by_certificate({}, "x") is None
    assert by_certificate(None, "x") is None


@pytest.mark.parametrize(
    "pairs",
    [
        (("commonName", "ann"),),
        (("organizationalUnitName", "admin"),),
        (("organizationalUnitName", "admin"), ("organizationalUnitName", "viewer"), ("commonName", "ann")),
        (("organizationalUnitName", "admin"), ("commonName", "ann"), ("commonName", "bob")),
        (("organizationalUnitName", "ADMIN"), ("commonName", "ann")),
        (("organizationalUnitName", "admin"), ("commonName", "root")),
        (("organizationalUnitName", "admin"), ("commonName", "a\nb")),
    ],
)
def test_any_other_certificate_names_nobody(pairs: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(NotAuthenticated):
        by_certificate(_subject(*pairs), "192.0.2.7")
