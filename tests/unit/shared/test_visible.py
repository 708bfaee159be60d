"""What a reader sees of a text: a character that is drawn as nothing makes one name look like another."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from vmdkvol.cli.render import as_json, cell
from vmdkvol.errors import InvalidName, one_line
from vmdkvol.names import VolumeRef
from vmdkvol.visible import escaped, is_visible

UNSEEN = ["\u034f", "\u115f", "\u1160", "\u17b4", "\u180b", "\u2800", "\u3164", "\ufe0f", "\uffa0", "\U000e0100"]


@pytest.mark.parametrize("unseen", UNSEEN, ids=ascii)
def test_a_name_with_what_nobody_sees_is_no_new_volume_s_and_is_told_from_the_other_one(unseen: str) -> None:
    text = f"d{unseen}b"
    with pytest.raises(InvalidName, match="nobody sees"):
        VolumeRef.for_create(text)
    assert VolumeRef.parse(text).text == text
    for shown in (one_line(text), cell(text), escaped(text)):
        assert shown.isascii()
        assert shown != "db"
    assert as_json(text).isascii()
    assert json.loads(as_json(text)) == text


@pytest.mark.parametrize("text", ["db", "d b", "d\u00e9b", "\u6570\u636e", "\u05d3\u05d1", "caf\u00e9@ds1", ""])
def test_what_is_written_in_any_script_is_seen(text: str) -> None:
    assert is_visible(text)
    assert escaped(text) == text


def test_no_mark_letter_or_sign_that_is_drawn_as_nothing_by_its_unicode_name_is_left_out() -> None:
    words = ("HANGUL FILLER", "SEONG FILLER", "VARIATION SELECTOR", "GRAPHEME JOINER", "VOWEL INHERENT", "PATTERN BLANK")
    found = [chr(code) for code in range(sys.maxunicode + 1) if any(word in unicodedata.name(chr(code), "") for word in words)]
    assert [ascii(each) for each in found if is_visible(each)] == []
