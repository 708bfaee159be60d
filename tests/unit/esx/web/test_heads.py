"""A glance at a request: who says what of itself, and how much is still to come."""

from __future__ import annotations

import pytest

from vmdkvol_esx.web.heads import Head, head_in
from vmdkvol_esx.web.sources import neighbourhood

HEAD = b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"


def found(data: bytes) -> Head:
    head = head_in(bytearray(data), 0)
    assert head is not None
    return head


def test_a_head_is_there_with_its_last_byte_and_not_before() -> None:
    data = bytearray()
    for number, byte in enumerate(HEAD + b"12345"):
        looked = len(data)
        data.append(byte)
        head = head_in(data, looked)
        assert (head is None) == (number + 1 < len(HEAD)) or number + 1 > len(HEAD)
    assert found(HEAD + b"12345").size == len(HEAD)


def test_empty_lines_before_a_request_are_no_head_and_count_among_its_bytes() -> None:
    assert head_in(bytearray(b"\r\n\r\n\r\n"), 0) is None
    assert found(b"\r\n\r\n" + HEAD).size == len(HEAD) + 4


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"Content-Length: 5", 5),
        (b"content-length:5", 5),
        (b"Content-Length: 10", 10),
        (b"Content-Length: 11", 0),
        (b"Content-Length: 5\r\nContent-Length: 7", 5),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked", 0),
        (b"Content-Length: 5\r\nExpect: 100-continue", 0),
        (b"Content-Length: -5", 0),
        (b"Content-Length: 0x5", 0),
        (b"Content-Length: \xb2", 0),
        (b"Content-Length: " + b"9" * 5000, 0),
        (b"X: y", 0),
    ],
)
def test_a_body_is_waited_for_if_it_is_short_and_says_so(fields: bytes, body: int) -> None:
    assert found(b"POST /x HTTP/1.1\r\n" + fields + b"\r\n\r\n").body(10) == body


def test_of_a_field_that_is_there_twice_the_first_counts() -> None:
    fields = found(b"GET / HTTP/1.1\r\nAuthorization: one\r\nAUTHORIZATION: two\r\nno colon\r\n\r\n").fields
    assert fields["authorization"] == "one"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("unix", "unknown", False),
    ],
)
def test_all_addresses_of_one_network_of_ipv6_are_one_neighbours(one: str, other: str, same: bool) -> None:
    assert (neighbourhood(one) == neighbourhood(other)) is same
