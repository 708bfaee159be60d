"""The body of a request, whole, or the error that says why it is not there. Pure: the stream is handed in."""

from __future__ import annotations

from typing import Protocol

from vmdkvol.admin_errors import BodyTooLong
from vmdkvol.errors import BadRequest
from vmdkvol_esx.web.asked import MAX_BODY

# So much of a body that is too long is still read: who sends it then hears why it was refused.
_MOST_DRAINED = 8 << 20
_PIECE = 64 << 10


class Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def taken_in(stream: Stream, length: int | None, *, chunked: bool) -> bytes:
    """Return the whole body: the connection ends with the answer, which who still sends would not hear.

    Raises BodyTooLong, and BadRequest for one that ends before it said it would.
    """
    if length is None and not chunked:
        return b""
    left, found, drained = _MOST_DRAINED if length is None else length, bytearray(), 0
    try:
        while left > 0 and (piece := stream.read(min(_PIECE, left))):
            left -= len(piece)
            drained += len(piece)
            if len(found) <= MAX_BODY:
                found += piece
            if drained > _MOST_DRAINED:
                break
    except (OSError, ValueError) as error:
        raise BadRequest("the request ended before its body did", remedy="send as many bytes as Content-Length says") from error
    if len(found) > MAX_BODY:
        raise BodyTooLong(f"the body is longer than {MAX_BODY} bytes")
    if length is not None and left > 0:
        raise BadRequest("the request ended before its body did", remedy="send as many bytes as Content-Length says")
    return bytes(found)
