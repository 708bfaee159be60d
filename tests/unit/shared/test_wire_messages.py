"""Messages as frames: every request, answer, error and notice there and back; versions; stored answers; sizes of pages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from tests.unit.shared.test_wire_values import ATTACHMENT, INFO
from vmdkvol import frames, wire
from vmdkvol.admin_messages import ListVms, Standing, VmInfo, VmPage
from vmdkvol.errors import (
    BY_CODE,
    BadFrame,
    BadRequest,
    Internal,
    InvalidName,
    InvalidOption,
    ProtocolVersion,
    VolumeError,
    VolumeInUse,
)
from vmdkvol.frames import MAX_FRAME, MAX_REQUEST, Decoder, Frame
from vmdkvol.messages import (
    NEWEST_VERSION,
    OLDEST_VERSION,
    REQUESTS,
    Attach,
    Attachments,
    Authority,
    CreateVolume,
    Detach,
    Done,
    Enroll,
    Enrolled,
    GetVolume,
    Hello,
    Introduce,
    Keep,
    Lagging,
    ListAttached,
    ListVolumes,
    Mark,
    RemoveVolume,
    Renew,
    Request,
    VolumePage,
    Welcome,
)
from vmdkvol.names import VolumeRef
from vmdkvol.notices import NOTICES, Grown, Notice, Wanted
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Content, Lag, VmId, VolumeId

ID = UUID("6d3f0a7e-3c67-4d8b-9e1a-0c2b4a5d6e7f")
VOLUME = VolumeId(ID)
REF = VolumeRef.parse("größe@ds (1)")
OPTIONS = CreateOptions.parse({"size": "20gb", "label": "b=2,a=1", "mount-options": "noatime", "mkfs-options": "-i 8192"})

EXAMPLES: list[tuple[Request[Any], Any]] = [
    (Hello(1, 2, "vmdkvol 0.1.0", "boot"), Welcome(1, VmId(ID), "host", "service")),
    (CreateVolume(REF, OPTIONS), INFO),
    (GetVolume(REF), INFO),
    (ListVolumes(VOLUME, 50, 7), VolumePage((INFO, INFO), VOLUME, 8, (VOLUME,), complete=False)),
    (ListVolumes(), VolumePage((), None, 0)),
    (ListAttached(), Attachments((ATTACHMENT,))),
    (RemoveVolume(VOLUME), Done()),
    (Attach(VOLUME), ATTACHMENT),
    (Detach(VOLUME, 3), Done()),
    (Mark(VOLUME, 3, Content.FORMATTED, ID), Done()),
    (Mark(VOLUME, 3, Content.FORMATTING, None, "damaged"), Done()),
    (Keep(VOLUME), Done()),
    (Lagging((Lag(VOLUME, 2 << 30, 1 << 30, "no capability"), Lag(VOLUME, 2 << 30, None, "not read"))), Done()),
    (Introduce(), Authority("ca")),
    (Enroll("token", "csr"), Enrolled("certificate", "ca", VmId(ID), "host-a")),
    (Renew("csr"), Enrolled("certificate", "ca", VmId(ID), "host-a")),
]


def arrived(data: bytes) -> Frame:
    decoder = Decoder()
    decoder.feed(data)
    frame = decoder.take()
    assert frame is not None
    return frame


def test_the_examples_have_every_request() -> None:
    assert {type(request) for request, _ in EXAMPLES} == set(REQUESTS)


@pytest.mark.parametrize("request_", [request for request, _ in EXAMPLES])
def test_a_request_arrives_as_it_was_asked(request_: Request[Any]) -> None:
    frame = arrived(wire.write_request(request_, ID, 2.5))
    assert (wire.read_request(frame), frame.id, frame.left_ms) == (request_, ID, 2500)


@pytest.mark.parametrize(("request_", "answer"), EXAMPLES)
def test_an_answer_arrives_as_it_was_given(request_: Request[Any], answer: Any) -> None:
    frame = arrived(wire.write_answer(ID, answer))
    assert frame.id == ID
    assert wire.read_reply(request_, frame) == answer


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_every_error_arrives_as_itself(code: str) -> None:
    sent = BY_CODE[code]("a text", remedy="a remedy", volume="db", count=3, off=False, none=None)
    frame = arrived(wire.write_error(ID, sent))
    with pytest.raises(VolumeError) as raised:
        wire.read_reply(ListAttached(), frame)
    got = raised.value
    assert (type(got), got.text, got.remedy, got.fields) == (type(sent), "a text", "a remedy", sent.fields)


def test_an_error_of_a_newer_peer_is_internal_and_keeps_its_text() -> None:
    error = wire.read_error({"code": "meteor-strike", "text": "gone", "remedy": "duck", "fields": {}})
    assert isinstance(error, Internal)
    assert "gone" in error.text


@pytest.mark.parametrize("name", ["self", "text", "remedy", "code", "x" * 5000, "a b"])
def test_no_name_of_a_peers_field_breaks_the_reading(name: str) -> None:
    error = wire.read_error({"code": "volume-in-use", "text": "t", "remedy": "r", "fields": {name: "v"}})
    assert (error.text, error.remedy) == ("t", "r")


def test_an_error_with_monstrous_fields_still_fits_into_a_frame() -> None:
    fields = {f"field{number}": "\ud800" * 100_000 for number in range(50)}
    assert len(wire.write_error(ID, VolumeInUse("x" * 100_000, remedy="y" * 100_000, **fields))) < MAX_FRAME


def test_a_peers_monstrous_fields_are_cut() -> None:
    fields = {f"field{number}": [1] * 10_000 for number in range(50)}
    error = wire.read_error({"code": "volume-in-use", "text": "t", "remedy": "", "fields": fields})
    assert len(error.fields) == 16
    assert all(len(str(value)) <= 300 for value in error.fields.values())


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(None, id="null"),
        pytest.param([], id="list"),
        pytest.param({}, id="empty"),
        pytest.param({"code": "internal", "text": "t", "remedy": "r"}, id="no-fields"),
        pytest.param({"code": 1, "text": "t", "remedy": "r", "fields": {}}, id="code-is-a-number"),
        pytest.param({"code": "internal", "text": None, "remedy": "r", "fields": {}}, id="no-text"),
        pytest.param({"code": "internal", "text": "t", "remedy": [], "fields": {}}, id="remedy-is-a-list"),
        pytest.param({"code": "internal", "text": "t", "remedy": "r", "fields": []}, id="fields-are-a-list"),
    ],
)
def test_what_is_no_error_is_refused(body: Any) -> None:
    with pytest.raises(BadFrame):
        wire.read_error(body)


@pytest.mark.parametrize("notice", [Wanted(VOLUME), Grown(VOLUME, 2 << 30)])
def test_every_notice_arrives(notice: Notice) -> None:
    assert wire.read_notice(arrived(wire.write_notice(notice))) == notice


def test_every_notice_is_of_a_version_that_we_speak() -> None:
    assert {kind: kind.since for kind in NOTICES} == {Wanted: 1, Grown: 4}
    assert NEWEST_VERSION == 7


@pytest.mark.parametrize("frame", [Frame(None, None, "Nonsense", {}), Frame(None, None, "Wanted", {"volume": "x"})])
def test_what_is_no_notice_is_refused(frame: Frame) -> None:
    with pytest.raises(BadFrame):
        wire.read_notice(frame)


def test_progress_arrives() -> None:
    assert wire.read_progress(arrived(wire.write_progress(ID, 42)).body) == 42


@pytest.mark.parametrize("body", [None, {}, {"percent": 101}, {"percent": "5"}, {"percent": True}, {"percent": 1, "more": 1}])
def test_what_is_no_progress_is_refused(body: Any) -> None:
    with pytest.raises(BadFrame):
        wire.read_progress(body)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(Frame(ID, 5, "Explode", {}), id="unknown-request"),
        pytest.param(Frame(ID, 5, "answer", {}), id="an-answer"),
        pytest.param(Frame(None, 5, "ListAttached", {}), id="no-id"),
        pytest.param(Frame(ID, None, "ListAttached", {}), id="no-time"),
        pytest.param(Frame(ID, 5, "ListAttached", None), id="no-body"),
        pytest.param(Frame(ID, 5, "ListAttached", []), id="body-is-a-list"),
        pytest.param(Frame(ID, 5, "ListAttached", {"caller": str(ID)}), id="unknown-key"),
        pytest.param(Frame(ID, 5, "Detach", {"volume": str(ID)}), id="missing-key"),
        pytest.param(Frame(ID, 5, "Detach", {"volume": str(ID), "generation": "3"}), id="number-as-text"),
        pytest.param(Frame(ID, 5, "Detach", {"volume": str(ID), "generation": True}), id="number-as-true"),
        pytest.param(Frame(ID, 5, "Detach", {"volume": str(ID).upper(), "generation": 3}), id="uuid-in-upper-case"),
        pytest.param(Frame(ID, 5, "Hello", {"oldest": "1", "newest": 1, "agent": "", "boot_id": ""}), id="odd-hello"),
    ],
)
def test_what_is_no_request_is_refused(frame: Frame) -> None:
    with pytest.raises(BadFrame):
        wire.read_request(frame)


def test_a_list_is_not_made_of_a_text() -> None:
    options = wire.dump(OPTIONS) | {"mount_options": "ab"}
    with pytest.raises(BadFrame):
        wire.read_request(Frame(ID, 5, "CreateVolume", {"ref": "db", "options": options}))


@pytest.mark.parametrize(("ref", "kind"), [("a/b", InvalidName), ("", InvalidName), ("..", InvalidName), ("a\nb", InvalidName)])
def test_a_name_that_no_user_could_give_is_refused_as_a_name(ref: str, kind: type[VolumeError]) -> None:
    with pytest.raises(kind):
        wire.read_request(Frame(ID, 5, "GetVolume", {"ref": ref}))


def test_an_option_that_no_user_could_give_is_refused_as_an_option() -> None:
    options = wire.dump(OPTIONS) | {"fstype": "../x"}
    with pytest.raises(InvalidOption):
        wire.read_request(Frame(ID, 5, "CreateVolume", {"ref": "db", "options": options}))


def test_a_request_for_more_than_a_frame_is_the_users_error() -> None:
    with pytest.raises(BadRequest, match="too long"):
        wire.write_request(CreateVolume(REF, CreateOptions(mount_options=("noatime",) * 6000)), ID, 1.0)


def test_the_largest_request_makes_a_volume_that_an_answer_can_show() -> None:
    # The largest mount-options that still go through, in an answer that has everything else as well.
    words = ("noatime",) * ((MAX_REQUEST - 1000) // len('"noatime",'))
    request = CreateVolume(VolumeRef.parse("数" * 100), CreateOptions(mount_options=words))
    wire.write_request(request, ID, 1.0)
    assert wire.answer_size(replace(INFO, name=request.ref.text, options=request.options)) < MAX_FRAME


def test_an_answer_for_more_than_a_frame_becomes_an_error() -> None:
    page = VolumePage((INFO,) * 200, None, 1)
    with pytest.raises(Internal, match="too long"):
        wire.read_reply(ListVolumes(), arrived(wire.write_answer(ID, page)))


def test_a_listing_for_an_administrator_may_be_longer_and_a_guest_takes_no_such_frame() -> None:
    page = VmPage(tuple(VmInfo(VmId(ID), "x" * 100, Standing.NONE, False, None) for _ in range(1000)), None)
    data = wire.write_answer(ID, page, most=ListVms.most)
    with pytest.raises(BadFrame):
        arrived(data)
    decoder = Decoder(frames.MAX_LISTING, frames.read_unopened)
    decoder.feed(data)
    frame = decoder.take()
    assert frame is not None
    assert wire.read_reply(ListVms(), frame) == page


def test_the_size_of_an_answer_is_not_less_than_its_frame() -> None:
    for _, answer in EXAMPLES:
        assert len(wire.write_answer(ID, answer)) <= wire.answer_size(answer)


def test_a_page_filled_by_the_sum_of_its_parts_fits() -> None:
    volumes = []
    left = frames.MAX_FRAME - wire.answer_size(VolumePage((), VOLUME, 1 << 62))
    while (left := left - wire.answer_size(INFO)) >= 0:
        volumes.append(INFO)
    assert arrived(wire.write_answer(ID, VolumePage(tuple(volumes), VOLUME, 1 << 62))).type == wire.ANSWER


@pytest.mark.parametrize(
    ("oldest", "newest"),
    [
        pytest.param(OLDEST_VERSION, NEWEST_VERSION, id="the-same"),
        pytest.param(OLDEST_VERSION, NEWEST_VERSION + 5, id="a-newer-agent-that-still-speaks-ours"),
    ],
)
def test_the_newest_common_version_is_chosen(oldest: int, newest: int) -> None:
    assert wire.common_version(oldest, newest) == NEWEST_VERSION


@pytest.mark.parametrize(
    ("oldest", "newest"),
    [
        pytest.param(NEWEST_VERSION + 1, NEWEST_VERSION + 2, id="too-new"),
        pytest.param(OLDEST_VERSION - 2, OLDEST_VERSION - 1, id="too-old"),
        pytest.param(NEWEST_VERSION, NEWEST_VERSION - 1, id="an-empty-range"),
    ],
)
def test_no_common_version_names_both_ranges(oldest: int, newest: int) -> None:
    with pytest.raises(ProtocolVersion) as raised:
        wire.common_version(oldest, newest)
    assert f"{oldest} to {newest}" in raised.value.text
    assert f"{OLDEST_VERSION} to {NEWEST_VERSION}" in raised.value.text


def test_a_hello_of_the_future_is_a_matter_of_versions_and_not_of_keys() -> None:
    body = {"oldest": 8, "newest": 9, "agent": "x", "boot_id": "y", "colour": "blue"}
    with pytest.raises(ProtocolVersion, match="8 to 9"):
        wire.read_request(Frame(ID, 5, "Hello", body))
