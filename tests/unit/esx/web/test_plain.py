"""A page that is passed on unread still says which page follows."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from vmdkvol.frames import MAX_FRAME, Decoder, Frame, encode, write
from vmdkvol_esx.web.plain import READING, Plain


@pytest.mark.parametrize(
    ("said", "following"),
    [
        pytest.param({"rows": [], "next": None}, None, id="the-last"),
        pytest.param({"rows": [], "next": "6d3f0a7e", "warnings": []}, "6d3f0a7e", id="a-text"),
        pytest.param({"entries": [], "next": -12}, -12, id="a-number"),
        pytest.param({"rows": [], "next": 'a"b\\'}, 'a"b\\', id="a-text-with-quotes"),
        pytest.param({"rows": [{"labels": {"next": "x"}}], "next": "y"}, "y", id="a-key-inside"),
        pytest.param({"rows": [{"labels": {"next": "x"}}], "next": "q\n"}, "q\n", id="a-key-inside-and-a-text-with-an-escape"),
        pytest.param({"rows": ['"next":"x"', "next", ':"x"'], "next": None}, None, id="a-text-inside"),
        pytest.param({"rows": []}, None, id="none"),
    ],
)
def test_what_follows_is_what_the_page_itself_says(said: dict[str, Any], following: object) -> None:
    assert Plain(encode(said)).next == following


def test_a_listing_of_a_megabyte_arrives() -> None:
    data = write(Frame(UUID(int=1), None, "answer", "x" * (READING.most - 200)), READING.most)
    assert len(data) > MAX_FRAME
    decoder = Decoder(READING.most, READING.cut)
    decoder.feed(data)
    assert decoder.take() is not None
