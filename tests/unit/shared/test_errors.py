"""The taxonomy: codes that never change, one line of at most 300 characters, and the way across the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol.errors import BY_CODE, MAX_LINE, Internal, StillWorking, VolumeError, VolumeInUse, VolumeNotFound, from_code, one_line, quoted

# The codes are a promise to scripts and to other versions: a change here is a breaking change.
CODES = {
    "internal": 1,
    "bad-request": 2,
    "invalid-name": 2,
    "invalid-option": 2,
    "invalid-size": 2,
    "empty-request": 2,
    "missing-tool": 2,
    "not-found": 4,
    "volume-not-found": 4,
    "datastore-not-found": 4,
    "policy-not-found": 4,
    "conflict": 5,
    "name-conflict": 5,
    "volume-in-use": 5,
    "still-mounted": 5,
    "snapshot-present": 5,
    "stale-request": 5,
    "denied": 7,
    "not-permitted": 7,
    "quota-exceeded": 7,
    "not-enrolled": 7,
    "identity-conflict": 7,
    "unknown-caller": 7,
    "exhausted": 1,
    "no-space": 1,
    "no-free-slot": 1,
    "unavailable": 6,
    "service-unreachable": 6,
    "hypervisor-unreachable": 6,
    "still-working": 6,
    "busy": 6,
    "truth-unknown": 6,
    "outcome-unknown": 6,
    "unknown-task": 6,
    "protocol-error": 6,
    "bad-frame": 6,
    "protocol-version": 6,
    "at-risk": 1,
    "wrong-disk": 1,
    "foreign-content": 1,
    "check-failed": 1,
    "metadata-damaged": 1,
    "volume-lost": 1,
}


# Classes that only group others: nobody raises them, so they need no text of their own.
GROUPS = {
    "bad-request",
    "not-found",
    "conflict",
    "denied",
    "exhausted",
    "unavailable",
    "protocol-error",
    "at-risk",
}
RAISED = sorted(set(CODES) - GROUPS)


def test_the_codes_and_exit_codes_are_the_promised_ones() -> None:
    # Those of administrators' orders are in a module of their own, with its own test.
    found = {code: kind.exit_code for code, kind in BY_CODE.items() if kind.__module__ == VolumeError.__module__}
    assert found == CODES


@pytest.mark.parametrize("code", RAISED)
def test_each_code_is_explained_and_says_what_to_do(code: str) -> None:
    kind = BY_CODE[code]
    assert kind.explanation.endswith(".")
    assert kind.remedy


@pytest.mark.parametrize("code", RAISED)
def test_no_remedy_ends_like_a_sentence_because_the_code_follows_it(code: str) -> None:
    assert not BY_CODE[code].remedy.endswith((".", ";", " "))


def test_an_error_reads_cause_remedy_code() -> None:
    error = VolumeNotFound("no volume 'db'", remedy="look again")

    assert str(error) == "no volume 'db'; look again [volume-not-found]"


def test_a_class_has_a_default_remedy() -> None:
    assert "docker volume ls" in str(VolumeNotFound("no volume 'db'"))


def test_an_empty_remedy_leaves_no_stray_separator() -> None:
    assert str(VolumeNotFound("no volume 'db'", remedy="")) == "no volume 'db' [volume-not-found]"


@given(text=st.text(max_size=2000), remedy=st.none() | st.text(max_size=2000), code=st.sampled_from(RAISED))
def test_an_error_is_one_printable_line_of_at_most_300_characters(text: str, remedy: str | None, code: str) -> None:
    line = str(BY_CODE[code](text, remedy=remedy))

    assert len(line) <= MAX_LINE == 300
    assert line.isprintable()
    assert line.endswith(f"[{code}]")


@pytest.mark.parametrize("code", RAISED)
def test_the_longest_cause_leaves_room_for_something_to_do(code: str) -> None:
    line = str(BY_CODE[code]("x" * 10_000))

    assert BY_CODE[code].remedy[:40] in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("a\nb", r"a\nb", id="newline"),
        pytest.param("a\r\x1b[31mb", r"a\r\x1b[31mb", id="terminal-escape"),
        pytest.param("a\x00b", r"a\x00b", id="nul"),
        pytest.param("a\u2028b", r"a\u2028b", id="line-separator"),
        pytest.param("a\u202eb", r"a\u202eb", id="change-of-direction"),
        pytest.param("a\ud800b", r"a\ud800b", id="lone-surrogate"),
        pytest.param("Größe 5 ÷ 2 データ", "Größe 5 ÷ 2 データ", id="honest-unicode-stays"),
    ],
)
def test_nothing_in_a_text_can_forge_a_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_a_cut_line_shows_that_it_was_cut() -> None:
    assert one_line("x" * 10, limit=5) == "xxxx…"


def test_a_line_of_exactly_the_limit_is_not_cut() -> None:
    assert one_line("xxxxx", limit=5) == "xxxxx"


def test_foreign_text_in_quotes_leaves_room_for_the_cause() -> None:
    assert len(quoted("\x00" * 1000, 60)) == 60


def test_fields_travel_beside_the_text() -> None:
    error = VolumeInUse("db is attached to b", disk="db", holder="b")

    assert error.fields == {"disk": "db", "holder": "b"}


@pytest.mark.parametrize("code", sorted(CODES))
def test_an_error_of_the_other_side_comes_back_as_its_class(code: str) -> None:
    sent = BY_CODE[code]("the text", remedy="the remedy", volume="db")

    got = from_code(sent.code, sent.text, sent.fields, sent.remedy)

    assert type(got) is type(sent)
    assert (got.text, got.remedy, got.fields) == (sent.text, sent.remedy, sent.fields)


def test_an_unknown_code_is_an_internal_error_that_names_it() -> None:
    error = from_code("disk-on-fire", "the text", {})

    assert isinstance(error, Internal)
    assert "disk-on-fire" in str(error)
    assert "the text" in str(error)


@pytest.mark.parametrize("field", ["text", "remedy", "self", "code"])
def test_no_field_name_of_a_peer_can_collide_with_ours(field: str) -> None:
    error = from_code("volume-in-use", "the text", {field: "x"})

    assert (error.text, error.fields) == ("the text", {field: "x"})


def test_every_class_is_reached_by_catching_the_base() -> None:
    assert all(issubclass(kind, VolumeError) for kind in BY_CODE.values())


def test_nobody_is_promised_that_a_copy_on_this_machine_outlives_the_service() -> None:
    """The service makes it there: killed in the middle, it is undone (tests/integration/local/test_killed_changes.py)."""
    assert "On vSphere it outlives a restart of the service" in StillWorking.explanation
    assert "it is undone then" in StillWorking.explanation
