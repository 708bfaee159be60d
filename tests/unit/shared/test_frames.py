"""Frames: cut out of any pieces, every limit checked before anything of that size is kept (T6, L4)."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from typing import Any
from uuid import UUID

import pytest

from vmdkvol.errors import BadFrame, ProtocolVersion
from vmdkvol.frames import (
    MAX_DEPTH,
    MAX_FRAME,
    MAX_LEFT_MS,
    Decoder,
    Frame,
    Part,
    Written,
    parse,
    read,
    read_unopened,
    write,
)

ID = UUID("6d3f0a7e-3c67-4d8b-9e1a-0c2b4a5d6e7f")
FRAME = Frame(ID, 1500, "Detach", {"volume": "größe", "generation": 3})
# The predecessor's List, as its guests send it (vdvs-facts 2.1).
VDVS_LIST = bytes.fromhex(
    "efbead0b330000007b22636d64223a226c697374222c2264657461696c73223a7b224e616d65223a22227d2c2276657273696f6e223a2232227d00"
)


def announced(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def body(**changes: Any) -> bytes:
    return json.dumps({"id": str(ID), "left_ms": 1500, "type": "Detach", "body": {}, **changes}).encode()


def decoded(data: bytes, limit: int = MAX_FRAME) -> Frame | None:
    decoder = Decoder(limit)
    decoder.feed(data)
    return decoder.take()


def test_a_frame_comes_back_as_it_was_written() -> None:
    assert decoded(write(FRAME)) == FRAME


@pytest.mark.parametrize("offset", range(len(write(FRAME)) + 1))
def test_a_frame_may_come_in_two_pieces_cut_anywhere(offset: int) -> None:
    data = write(FRAME)
    decoder = Decoder()
    decoder.feed(data[:offset])
    first = decoder.take()
    decoder.feed(data[offset:])
    assert (first or decoder.take()) == FRAME


def test_frames_may_come_byte_by_byte() -> None:
    decoder = Decoder()
    found = []
    for byte in write(FRAME) * 3:
        decoder.feed(bytes([byte]))
        if (frame := decoder.take()) is not None:
            found.append(frame)
    assert found == [FRAME] * 3


def test_several_frames_may_come_in_one_piece() -> None:
    decoder = Decoder()
    decoder.feed(write(FRAME) * 2)
    assert [decoder.take(), decoder.take(), decoder.take()] == [FRAME, FRAME, None]


def test_the_good_frames_before_a_bad_one_are_not_lost() -> None:
    decoder = Decoder()
    decoder.feed(write(FRAME) + announced(b"garbage"))
    assert decoder.take() == FRAME
    with pytest.raises(BadFrame):
        decoder.take()


def test_half_a_frame_is_no_frame_and_no_error() -> None:
    assert decoded(write(FRAME)[:-1]) is None


def test_the_decoder_says_which_part_it_waits_for() -> None:
    decoder = Decoder()
    seen = [decoder.awaits]
    for piece in (b"\0", b"\0\0\x09", b"{"):
        decoder.feed(piece)
        decoder.take()
        seen.append(decoder.awaits)
    assert seen == [None, Part.HEADER, Part.BODY, Part.BODY]


def test_between_two_frames_nothing_is_awaited() -> None:
    decoder = Decoder()
    decoder.feed(write(FRAME))
    decoder.take()
    assert decoder.awaits is None


def test_an_announced_giant_is_refused_before_it_is_buffered() -> None:
    with pytest.raises(BadFrame, match="4294967295 bytes was announced"):
        decoded(b"\xff\xff\xff\xff")


def test_an_announced_giant_costs_no_memory() -> None:
    tracemalloc.start()
    decoder = Decoder()
    decoder.feed(b"\x7f\xff\xff\xff")
    with pytest.raises(BadFrame):
        decoder.take()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 10


def test_a_frame_of_exactly_the_limit_is_taken() -> None:
    data = write(FRAME)
    assert decoded(data, limit=len(data) - 4) == FRAME


def test_a_frame_one_byte_beyond_the_limit_is_refused() -> None:
    data = write(FRAME)
    with pytest.raises(BadFrame):
        decoded(data, limit=len(data) - 5)


def test_an_answer_is_left_as_the_text_that_it_is_for_who_passes_it_on() -> None:
    frame = read_unopened(write(Frame(ID, None, "answer", {"name": "ä}"}))[4:])
    assert (frame.id, frame.left_ms, frame.type) == (ID, None, "answer")
    assert frame.body == Written('{"name":"ä}"}'.encode())
    assert frame.body.value() == {"name": "ä}"}


@pytest.mark.parametrize("kind", ["error", "progress", "ListVolumes"])
def test_what_is_no_answer_is_read_strictly_by_who_passes_answers_on(kind: str) -> None:
    data = write(Frame(ID, None, kind, {"percent": 1}))[4:]
    assert read_unopened(data) == read(data)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b'{"id":"%s","left_ms":null,"type":"answer","body":[]' % str(ID).encode(), id="no-end"),
        pytest.param(b'{"id":"%s","left_ms":null,"type":"answer","body":' % str(ID).upper().encode(), id="another-spelling"),
        pytest.param(b"garbage}", id="garbage"),
    ],
)
def test_what_is_no_frame_is_refused_by_who_passes_answers_on(payload: bytes) -> None:
    with pytest.raises(BadFrame):
        read_unopened(payload)


def test_a_text_that_was_passed_on_is_read_strictly_by_who_looks_into_it() -> None:
    with pytest.raises(BadFrame):
        Written(b'{"a":1,"a":2}').value()


def test_a_decoder_cuts_as_it_is_told() -> None:
    decoder = Decoder(cut=read_unopened)
    decoder.feed(write(Frame(ID, None, "answer", [1])) + write(FRAME))
    assert decoder.take() == Frame(ID, None, "answer", Written(b"[1]"))
    assert decoder.take() == FRAME


def test_a_frame_that_is_too_long_is_not_written() -> None:
    with pytest.raises(BadFrame, match="does not fit"):
        write(Frame(ID, None, "answer", "x" * MAX_FRAME))


def test_an_empty_frame_is_refused() -> None:
    with pytest.raises(BadFrame):
        decoded(b"\0\0\0\0")


def test_after_an_error_the_decoder_gives_nothing_more() -> None:
    decoder = Decoder()
    decoder.feed(announced(b"garbage"))
    with pytest.raises(BadFrame):
        decoder.take()
    decoder.feed(write(FRAME))
    with pytest.raises(BadFrame):
        decoder.take()


def test_after_an_error_the_decoder_keeps_no_bytes() -> None:
    decoder = Decoder()
    decoder.feed(b"\xff\xff\xff\xff" + b"x" * 1000)
    with pytest.raises(BadFrame):
        decoder.take()
    decoder.feed(b"x" * 1000)
    assert decoder.awaits is None


def test_a_guest_of_the_predecessor_is_told_what_to_install() -> None:
    with pytest.raises(ProtocolVersion, match="vDVS") as raised:
        decoded(VDVS_LIST)
    assert "install vmdkvol's agent" in str(raised.value)


def test_a_guest_of_the_predecessor_is_known_by_its_first_four_bytes() -> None:
    with pytest.raises(ProtocolVersion):
        decoded(VDVS_LIST[:4])


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"garbage", id="not-json"),
        pytest.param(b"\xff\xfe{\x00}\x00", id="utf-16"),
        pytest.param(b"\xef\xbb\xbf" + body(), id="byte-order-mark"),
        pytest.param(b"[]", id="not-an-object"),
        pytest.param(b"null", id="null"),
        pytest.param(body() + b"x", id="bytes-after-the-object"),
        pytest.param(body() + body(), id="two-objects"),
        pytest.param(body()[:-1], id="unfinished-object"),
        pytest.param(body(extra=1), id="unknown-key"),
        pytest.param(b'{"id":null,"left_ms":null,"type":"a"}', id="missing-key"),
        pytest.param(b'{"id":null,"left_ms":null,"type":"a","body":1,"body":2}', id="key-twice"),
        pytest.param(body(body={"a": 1}).replace(b'"a": 1', b'"a": 1, "a": 1'), id="key-twice-inside"),
        pytest.param(body(id=5), id="id-is-a-number"),
        pytest.param(body(id="5"), id="id-is-no-uuid"),
        pytest.param(body(id=str(ID).upper()), id="id-in-upper-case"),
        pytest.param(body(id=f"{{{ID}}}"), id="id-in-braces"),
        pytest.param(body(id=str(ID).replace("6", "٦")), id="id-in-arabic-digits"),
        pytest.param(body(left_ms=-1), id="negative-time"),
        pytest.param(body(left_ms=1.5), id="broken-time"),
        pytest.param(body(left_ms=True), id="time-is-true"),
        pytest.param(body(left_ms="5"), id="time-is-a-text"),
        pytest.param(body(left_ms=MAX_LEFT_MS + 1), id="time-next-year"),
        pytest.param(body(type=None), id="no-type"),
        pytest.param(body(type="x" * 65), id="long-type"),
        pytest.param(body(type="dépôt"), id="type-not-ascii"),
        pytest.param(body(body=1 << 63), id="number-of-65-bits"),
        pytest.param(body(body=-(1 << 63) - 1), id="negative-number-of-65-bits"),
        pytest.param(body().replace(b"{}", b"9" * 5000), id="number-of-5000-digits"),
        pytest.param(body().replace(b"{}", b"1e999"), id="infinite-number"),
        pytest.param(body().replace(b"{}", b"NaN"), id="nan"),
        pytest.param(body().replace(b"{}", b"-Infinity"), id="infinity"),
        pytest.param(body().replace(b"{}", b'"\\ud800"'), id="half-a-surrogate-pair"),
        pytest.param(body().replace(b"{}", b'{"\\udc00": 1}'), id="half-a-surrogate-pair-as-key"),
        pytest.param(body().replace(b"{}", b'"\xed\xa0\x80"'), id="surrogate-in-utf-8"),
        pytest.param(body().replace(b"{}", b'"a\nb"'), id="control-character-in-a-text"),
        pytest.param(b"[" * 60000, id="60000-brackets"),
        pytest.param(b'{"a":' * 12000, id="12000-objects"),
    ],
)
def test_what_is_no_frame_is_refused(payload: bytes) -> None:
    with pytest.raises(BadFrame):
        read(payload)


@pytest.mark.parametrize("number", [0, -(1 << 63), (1 << 63) - 1])
def test_numbers_of_64_bits_are_read(number: int) -> None:
    assert read(body(body=number)).body == number


def test_nesting_up_to_the_limit_is_read() -> None:
    nested = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse(nested.encode())) == nested


def test_nesting_beyond_the_limit_is_refused() -> None:
    with pytest.raises(BadFrame, match="deeper than 32"):
        parse(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert len(parse(b"[" + b"[]," * 1000 + b"[]]")) == 1001


def test_brackets_inside_texts_do_not_count() -> None:
    text = '[{"\\' * 50
    assert parse(json.dumps([text, "[" * 100]).encode()) == [text, "[" * 100]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b'"' + b'\\"' * 30000 + b"[" * 40, id="unfinished-text-of-quotes"),
        pytest.param(b'"' * 50000 + b"[" * 40, id="quotes-only"),
        pytest.param(b"\\" * 50000 + b"[" * 40, id="backslashes-only"),
        pytest.param(b'"a' * 30000 + b"[" * 40, id="unfinished-texts"),
        pytest.param(b"[" * 32 + b'"' + b"\\" * 50001, id="unfinished-escape"),
    ],
)
def test_no_payload_takes_long_to_refuse(payload: bytes) -> None:
    begin = time.monotonic()
    with pytest.raises(BadFrame):
        parse(payload)
    # Guards against a reader that goes back over the text again and again, not a speed.
    assert time.monotonic() - begin < 10.0


def test_a_name_in_another_script_stays_short_on_the_wire() -> None:
    assert len(write(Frame(None, None, "Wanted", "数" * 100))) < 400


def test_half_a_surrogate_pair_of_our_own_is_written_in_escapes() -> None:
    assert b'"\\ud800"' in write(Frame(None, None, "Wanted", "\ud800"))


def test_more_time_than_anybody_waits_is_cut() -> None:
    assert read(write(Frame(ID, 10**12, "a", None))[4:]).left_ms == MAX_LEFT_MS


@pytest.mark.parametrize("depth", [2, MAX_DEPTH, MAX_DEPTH + 1, 200])
@pytest.mark.parametrize("text", ["a", '{"[', "]}", '\\"{', "[" * 50])
def test_the_depth_of_a_long_frame_is_that_of_its_deepest_value(depth: int, text: str) -> None:
    """Rows that have nothing inside are not walked through; brackets in texts are none."""
    deep: object = text
    for _ in range(depth - 1):
        deep = [deep]
    value = [*({"name": text, text: text} for _ in range(100)), deep]
    payload = json.dumps(value).encode()
    if depth <= MAX_DEPTH:
        assert parse(payload) == value
    else:
        with pytest.raises(BadFrame):
            parse(payload)
