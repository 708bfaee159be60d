"""What HTTP answers about files mean: each status has its row, and a page is never a file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol_esx.vsphere import framed, replies
from vmdkvol_esx.vsphere.faults import Kind, Meaning, Trouble, certain

FILE = framed.frame(b"<html> is how this sidecar begins")
BINARY = "application/octet-stream"


def meaning(trouble: Trouble | None) -> Meaning | None:
    return None if trouble is None else trouble.meaning


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (204, Meaning.NOT_UNDERSTOOD),
        (206, Meaning.NOT_UNDERSTOOD),
        (301, Meaning.NOT_UNDERSTOOD),
        (302, Meaning.NOT_UNDERSTOOD),
        (307, Meaning.NOT_UNDERSTOOD),
        (400, Meaning.NOT_UNDERSTOOD),
        (401, Meaning.LOGGED_OUT),
        (403, Meaning.FORBIDDEN),
        (404, Meaning.ABSENT),
        (429, Meaning.LOST),
        (500, Meaning.LOST),
        (503, Meaning.LOST),
        (507, Meaning.FULL),
        (599, Meaning.NOT_UNDERSTOOD),
    ],
)
def test_a_status_has_its_meaning(status: int, expected: Meaning) -> None:
    assert meaning(replies.of_get(status, BINARY, "", FILE)) is expected
    assert meaning(replies.of_put(status)) is (None if status == 204 else expected)


@pytest.mark.parametrize("content_type", [BINARY, "text/plain; charset=utf-8", "text/html", ""])
def test_a_whole_file_is_one_whatever_it_is_called(content_type: str) -> None:
    assert replies.of_get(200, content_type, "", FILE) is None


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"\n  <!DOCTYPE html>", b"<?xml version='1.0'?>", b"<"])
@pytest.mark.parametrize("content_type", [BINARY, "text/html; charset=utf-8", "TEXT/HTML"])
def test_a_page_is_not_a_file(body: bytes, content_type: str) -> None:
    assert meaning(replies.of_get(200, content_type, "", body)) is Meaning.NOT_UNDERSTOOD


def test_what_is_called_a_page_is_one() -> None:
    assert meaning(replies.of_get(200, "text/html", "", b"Please log in")) is Meaning.NOT_UNDERSTOOD


@pytest.mark.parametrize("content_type", [BINARY, "text/html"])
@pytest.mark.parametrize("length", [0, 1, 5, 50])
def test_a_file_that_is_not_whole_comes_through_to_whoever_checks_its_frame(content_type: str, length: int) -> None:
    assert replies.of_get(200, content_type, "", FILE[:length]) is None


def test_what_is_compressed_is_not_understood() -> None:
    assert meaning(replies.of_get(200, BINARY, "gzip", b"\x1f\x8b")) is Meaning.NOT_UNDERSTOOD
    assert replies.of_get(200, BINARY, "identity", FILE) is None


@given(st.integers(100, 999), st.text(), st.text(), st.binary(max_size=50))
def test_every_answer_has_a_meaning(status: int, content_type: str, encoding: str, body: bytes) -> None:
    found = replies.of_get(status, content_type, encoding, body)
    put = replies.of_put(status)

    assert found is not None or status == 200
    assert (put is None) == (status in (200, 201, 204))


def test_a_put_is_certainly_not_made_only_where_the_server_refused_it() -> None:
    answers = {status: replies.of_put(status) for status in range(100, 600)}

    refused = {status for status, trouble in answers.items() if trouble is not None and certain(Kind.CHANGE, trouble)}
    assert refused == {401, 403, 404, 507}
