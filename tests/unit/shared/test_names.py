"""Volume and datastore names: one verdict for every text (F51, T3, T4)."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol.errors import InvalidName
from vmdkvol.names import MAX_NAME, VolumeRef, datastore_name, looks_anonymous, slug

TAKEN = [
    pytest.param("db", None, id="plain"),
    pytest.param("D", None, id="one-character"),
    pytest.param("my data", None, id="space"),
    pytest.param(" db ", None, id="spaces-at-the-ends-are-part-of-it"),
    pytest.param("*", None, id="glob"),
    pytest.param("$(reboot);`id`|&", None, id="shell"),
    pytest.param("-rf", None, id="looks-like-an-option"),
    pytest.param("--help", None, id="looks-like-a-long-option"),
    pytest.param("...", None, id="three-dots"),
    pytest.param(".hidden", None, id="leading-dot"),
    pytest.param("'\"", None, id="quotes"),
    pytest.param("%2e%2e%2f", None, id="url-escapes-are-just-text"),
    pytest.param("DROP TABLE volumes;--", None, id="sql"),
    pytest.param("größe-データ-🐳", None, id="unicode-in-nfc"),
    pytest.param("CON", None, id="a-reserved-word-elsewhere"),
    pytest.param("null", None, id="null-as-text"),
    pytest.param("help", None, id="help"),
    pytest.param("x-flat", None, id="like-an-extent"),
    pytest.param("x-000001", None, id="like-a-delta"),
    pytest.param("x-ctk.vmdk", None, id="like-a-change-tracking-file"),
    pytest.param("a" * 63, None, id="63"),
    pytest.param("a" * 64, None, id="64-like-an-anonymous-volume"),
    pytest.param("a" * MAX_NAME, None, id="100"),
    pytest.param("é" * MAX_NAME, None, id="100-characters-of-two-bytes"),
    pytest.param("db@ds1", "ds1", id="with-datastore"),
    pytest.param("a@@b@ds", "ds", id="the-last-at-separates"),
    pytest.param("db@vsanDatastore (1)", "vsanDatastore (1)", id="datastore-with-spaces"),
    pytest.param("a" * MAX_NAME + "@" + "d" * MAX_NAME, "d" * MAX_NAME, id="100-at-100"),
]


@pytest.mark.parametrize(("text", "datastore"), TAKEN)
def test_a_name_is_taken_exactly_as_it_was_typed(text: str, datastore: str | None) -> None:
    ref = VolumeRef.parse(text)

    assert (ref.text, ref.datastore, str(ref)) == (text, datastore, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param("@ds", "volume name is empty", id="no-volume-before-the-at"),
        pytest.param("db@", "datastore name is empty", id="no-datastore-after-the-at"),
        pytest.param("@", "empty", id="only-an-at"),
        pytest.param("a/b", "'/'", id="slash"),
        pytest.param("a\\b", "'/' or", id="backslash"),
        pytest.param("../../etc/passwd", "'/'", id="traversal"),
        pytest.param("db@../ds", "datastore name", id="traversal-in-the-datastore"),
        pytest.param(".", "not a volume name", id="dot"),
        pytest.param("..", "not a volume name", id="dot-dot"),
        pytest.param("..@ds", "not a volume name", id="dot-dot-at-datastore"),
        pytest.param("db@..", "not a datastore name", id="dot-dot-as-datastore"),
        pytest.param("a\nb", "cannot be printed", id="newline"),
        pytest.param("a\x00b", "cannot be printed", id="nul"),
        pytest.param("a\tb", "cannot be printed", id="tab"),
        pytest.param("a\x7fb", "cannot be printed", id="delete"),
        pytest.param("a\x1b[2Jb", "cannot be printed", id="terminal-escape"),
        pytest.param("a\u202eb", "cannot be printed", id="change-of-direction"),
        pytest.param("a\u200bb", "cannot be printed", id="zero-width-space"),
        pytest.param("a\u2028b", "cannot be printed", id="line-separator"),
        pytest.param("a\ufeffb", "cannot be printed", id="byte-order-mark"),
        pytest.param("a\ud800b", "cannot be printed", id="lone-surrogate"),
        pytest.param("\x00" * MAX_NAME, "cannot be printed", id="the-cause-fits-behind-100-escapes"),
        pytest.param(unicodedata.normalize("NFD", "größe"), "NFC", id="nfd"),
        pytest.param("\u212b", "NFC", id="angstrom-sign"),
        pytest.param("a" * (MAX_NAME + 1), "101 characters", id="101"),
        pytest.param("db@" + "d" * (MAX_NAME + 1), "datastore name", id="datastore-of-101"),
        pytest.param("a" * 255, "255 characters", id="255"),
        pytest.param("a" * 300, "300 characters", id="300"),
        pytest.param("a" * 100_000, "100000 characters", id="100000"),
    ],
)
def test_what_is_no_name_is_refused_with_the_cause(text: str, says: str) -> None:
    with pytest.raises(InvalidName) as refused:
        VolumeRef.parse(text)

    assert says in refused.value.text
    assert len(str(refused.value)) <= 300


@given(st.text(max_size=250))
def test_any_text_is_a_name_or_invalid_name_and_nothing_else(text: str) -> None:
    try:
        ref = VolumeRef.parse(text)
    except InvalidName:
        return
    assert ref.text == text
    assert text.isprintable()
    assert "/" not in text


@given(st.text(max_size=120))
def test_base_and_datastore_make_the_name_again(text: str) -> None:
    try:
        ref = VolumeRef.parse(text)
    except InvalidName:
        return
    assert ref.text == (ref.base if ref.datastore is None else f"{ref.base}@{ref.datastore}")


def test_a_datastore_may_have_an_at() -> None:
    assert datastore_name("a@b") == "a@b"


@pytest.mark.parametrize(
    ("name", "short"),
    [
        pytest.param("db", "db", id="as-it-is"),
        pytest.param("My Data", "my-data", id="lower-case-and-hyphens"),
        pytest.param("größe", "groe", id="accents-go"),
        pytest.param("*", "volume", id="nothing-left"),
        pytest.param("データ", "volume", id="no-ascii"),
        pytest.param("-rf", "rf", id="never-an-option"),
        pytest.param("../..", "volume", id="never-a-path"),
        pytest.param("a" * 100, "a" * 40, id="forty-at-most"),
        pytest.param("a" * 39 + " b", "a" * 39, id="no-hyphen-at-the-cut"),
    ],
)
def test_a_slug_reminds_of_the_name(name: str, short: str) -> None:
    assert slug(name) == short


@given(st.text(max_size=200))
def test_no_slug_escapes_its_directory_or_its_alphabet(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", slug(name))


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        pytest.param("0123456789abcdef" * 4, True, id="64-hex-digits"),
        pytest.param("0123456789ABCDEF" * 4, False, id="capitals"),
        pytest.param("0123456789abcdef" * 4 + "\n", False, id="with-newline"),
        pytest.param("a" * 63, False, id="63"),
        pytest.param("db", False, id="a-name"),
    ],
)
def test_an_anonymous_name_is_known_by_its_form(name: str, verdict: bool) -> None:
    assert looks_anonymous(name) is verdict


@pytest.mark.parametrize("name", [" db", "db ", " ", "db@ds1 ", "\u00a0db"])
def test_a_name_that_docker_s_command_would_cut_is_not_given_to_a_new_volume(name: str) -> None:
    with pytest.raises(InvalidName):
        VolumeRef.for_create(name)


@pytest.mark.parametrize("name", ["db", "my data", "db@ds1", "x" * MAX_NAME])
def test_any_other_name_is_given_to_a_new_volume_as_it_is(name: str) -> None:
    assert VolumeRef.for_create(name) == VolumeRef.parse(name)
