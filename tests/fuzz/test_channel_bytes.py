"""Any bytes at all: decoders refuse in one way, and a service that was fed them still answers (T6, T15, N11)."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.doubles.channel_ends import VM_1, VM_2, RawGuest, Site, call
from vmdkvol import frames, wire
from vmdkvol.errors import BadFrame, ProtocolError, VolumeError
from vmdkvol.frames import Decoder, Frame
from vmdkvol.messages import REQUESTS, Attachments, Detach, GetVolume, Hello, ListAttached, ListVolumes
from vmdkvol.names import VolumeRef
from vmdkvol.volume import VolumeId

ID = UUID("6d3f0a7e-3c67-4d8b-9e1a-0c2b4a5d6e7f")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
GOOD = [
    wire.write_request(Hello(1, 1, "a", "b"), ID, 1.0),
    wire.write_request(GetVolume(VolumeRef.parse("größe@ds")), ID, 1.0),
    wire.write_request(Detach(VolumeId(ID), 3), ID, 1.0),
    wire.write_request(ListVolumes(VolumeId(ID), 10, 3), ID, 1.0),
]
NAMES = st.sampled_from([kind.__name__ for kind in REQUESTS] + ["answer", "error", "progress", "Wanted", "nothing"])


def take_all(decoder: Decoder) -> list[Frame]:
    found = []
    while (frame := decoder.take()) is not None:
        found.append(frame)
    return found


def announced(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=20))
def test_a_decoder_gives_frames_or_refuses_whatever_comes(pieces: list[bytes]) -> None:
    decoder = Decoder()
    for piece in pieces:
        decoder.feed(piece)
        try:
            take_all(decoder)
        except ProtocolError:
            return


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_a_payload_is_a_frame_or_refused(payload: bytes) -> None:
    try:
        frames.read(payload)
    except BadFrame:
        return


@settings(deadline=None)
@given(JSON)
def test_json_is_a_frame_or_refused(value: Any) -> None:
    try:
        frames.read(json.dumps(value).encode())
    except BadFrame:
        return


@settings(deadline=None)
@given(st.lists(st.sampled_from(GOOD), max_size=6), st.data())
def test_pieces_do_not_matter(good: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(good)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    decoder = Decoder()
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        decoder.feed(stream[begin:end])
        found += take_all(decoder)
    whole = Decoder()
    whole.feed(stream)
    assert found == take_all(whole)
    assert len(found) == len(good)


@settings(deadline=None)
@given(st.sampled_from(GOOD), st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_makes_another_message_or_none(good: bytes, position: int, byte: int) -> None:
    changed = bytearray(good)
    changed[position % len(good)] = byte
    decoder = Decoder()
    decoder.feed(bytes(changed))
    try:
        for frame in take_all(decoder):
            wire.read_request(frame)
    except VolumeError:
        return


@settings(deadline=None)
@given(NAMES, JSON)
def test_any_body_is_a_request_or_refused(name: str, body: Any) -> None:
    try:
        wire.read_request(Frame(ID, 5, name, body))
    except VolumeError:
        return


@settings(deadline=None)
@given(NAMES, JSON)
def test_any_body_is_a_reply_or_refused(name: str, body: Any) -> None:
    frame = Frame(ID, None, name, body)
    for request in (Hello(1, 1, "", ""), ListVolumes(), ListAttached()):
        try:
            wire.read_reply(request, frame)
        except VolumeError:
            continue


@settings(deadline=None)
@given(JSON)
def test_any_error_body_becomes_an_error_that_can_be_passed_on(body: Any) -> None:
    try:
        error = wire.read_error(body)
    except BadFrame as refused:
        error = refused
    assert "\n" not in str(error)
    wire.write_error(ID, error)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {"code": st.text(max_size=30), "text": st.text(), "remedy": st.text(), "fields": st.dictionaries(st.text(), JSON)}
    )
)
def test_any_error_of_a_peer_is_one_line(body: dict[str, Any]) -> None:
    error = wire.read_error(body)
    assert str(error).isprintable()
    assert len(str(error)) <= 300


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("fuzz"), lambda _request, _call: Attachments(()), (VM_1, VM_2))
    yield made
    made.close()


def _feed(site: Site, data: bytes, *, hello: bool) -> None:
    guest = RawGuest(site.address(VM_1))
    try:
        if hello:
            guest.hello()
        guest.try_to_send(data)
        guest.shut_down()
        assert guest.ended()
    except OSError:
        # The service was quicker.
        pass
    finally:
        guest.close()


STREAMS = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.binary(max_size=60).map(announced),
        JSON.map(lambda value: announced(json.dumps(value).encode())),
        st.sampled_from(GOOD),
        st.builds(lambda name, body: frames.write(Frame(uuid4(), 5, name, body)), NAMES, st.just({})),
    ),
    max_size=6,
).map(b"".join)


@settings(max_examples=150, deadline=None)
@given(stream=STREAMS, hello=st.booleans())
def test_after_any_stream_the_service_answers(site: Site, stream: bytes, hello: bool) -> None:
    _feed(site, stream, hello=hello)
    guest = RawGuest(site.address(VM_2))
    assert guest.hello().type == wire.ANSWER
    guest.close()


def test_after_all_of_it_a_line_gets_its_answer(site: Site) -> None:
    assert site.line(VM_1).ask(ListAttached(), call()) == Attachments(())
