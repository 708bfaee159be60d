"""Making and ending a token stands in the audit, also if the core was away, and once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.hand_clock import HandClock
from tests.unit.esx.site import Kept
from vmdkvol.errors import NoSpace, NotFound
from vmdkvol.orders import Role
from vmdkvol_esx.store import open_store
from vmdkvol_esx.token_notes import TokenNotes, untold
from vmdkvol_esx.trail import AuditFilter
from vmdkvol_esx.web.token_file import TokenFile, read


class Office:
    """A file of tokens, and the core's audit beside it."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock, self.log = path / "tokens.json", HandClock(wall=1_000_000.0), Kept()
        self.file = TokenFile(self.path, self.clock)
        self.trail: Any = open_store(None, self.clock).trail

    def take(self) -> None:
        TokenNotes(self.path, self.trail, self.log).take()

    def records(self) -> list[tuple[str, str, str, float]]:
        found = [each.record for each in self.trail.older(AuditFilter(), None, 100)]
        assert {(each.actor, each.role, each.source, each.result) for each in found} <= {
            ("root", "admin", "command line", "done")
        }
        return [(each.verb, each.target, each.detail, each.at) for each in reversed(found)]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_a_token_that_is_made_and_one_that_is_revoked_are_in_the_audit_with_their_times(office: Office) -> None:
    office.file.add("ann", Role.ADMIN, 90)
    office.clock.pass_time(60.0)
    office.file.remove("ann")
    office.clock.pass_time(60.0)
    office.take()
    made = ("admin-token", "ann", "made, as admin, for 90 days", 1_000_000.0)
    assert office.records() == [made, ("admin-token", "ann", "revoked", 1_000_060.0)]
    assert untold(office.path) == ()


def test_the_tokens_stay_when_the_notes_are_taken(office: Office) -> None:
    _, made = office.file.add("ann", Role.VIEWER, 1)
    office.take()
    assert read(office.path) == (made,)


def test_no_secret_of_a_token_is_in_its_note(office: Office) -> None:
    secret, _ = office.file.add("ann", Role.VIEWER, 1)
    assert secret.reveal() not in office.path.read_text()


def test_what_was_refused_is_no_change(office: Office) -> None:
    with pytest.raises(NotFound):
        office.file.remove("ann")
    office.take()
    assert office.records() == []


def test_taken_twice_it_is_written_once(office: Office) -> None:
    office.file.add("ann", Role.VIEWER, 1)
    before = office.path.read_bytes()
    office.take()
    # As it stands when the core was killed between the record and the file.
    office.path.write_bytes(before)
    office.take()
    assert len(office.records()) == 1
    assert untold(office.path) == ()


def test_what_the_database_does_not_take_stays_noted(office: Office) -> None:
    office.file.add("ann", Role.VIEWER, 1)
    whole, office.trail = office.trail, Full(office.trail)
    office.take()
    assert [note.name for note in untold(office.path)] == ["ann"]
    assert office.log.events("warning") == ["tokens that were made or ended are not in the audit yet"]
    office.trail = whole
    office.take()
    assert len(office.records()) == 1


class Full:
    def __init__(self, inner: Any) -> None:
        self.older = inner.older

    def append(self, record: object) -> None:
        raise NoSpace("the disk is full")


@pytest.mark.parametrize(
    "content", ["nonsense", "[]", '{"tokens": [], "untold": [{"id": "x"}]}', '{"tokens": [], "untold": 5}']
)
def test_a_file_that_cannot_be_read_is_left_as_it_is_and_told(office: Office, content: str) -> None:
    office.path.write_text(content)
    office.take()
    assert office.path.read_text() == content
    assert office.log.events("warning") == ["tokens that were made or ended are not in the audit yet"]


def test_without_a_file_nothing_is_made(office: Office, tmp_path: Path) -> None:
    office.take()
    assert list(tmp_path.iterdir()) == []
    assert office.log.lines == []


def test_a_file_of_an_older_version_has_no_notes(office: Office) -> None:
    office.path.write_text(json.dumps({"tokens": []}))
    office.path.chmod(0o600)
    assert untold(office.path) == ()
