"""Frames: four bytes of length and a JSON object, cut out of a stream of bytes. Pure.

Each limit is checked before anything of that size is kept or parsed (T6): the length before the body is buffered, the
depth before the JSON reader recurses. The first error is final: what follows it in the stream means nothing.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from vmdkvol.errors import BadFrame, ProtocolError, ProtocolVersion

MAX_FRAME = 64 << 10
# What a guest may send. An answer repeats a volume's options and adds to them: a request of 64 KiB would make a volume
# that no answer could ever show.
MAX_REQUEST = 48 << 10
# What an administrator's query may be answered with, at a socket that is root's: a listing is a few long answers.
MAX_LISTING = 1 << 20
MAX_DEPTH = 32
# Nobody waits longer than Docker's two minutes; a peer's number must not become a deadline next year.
MAX_LEFT_MS = 600_000

_HEADER = struct.Struct(">I")
# What a guest of the predecessor sends first: uint32 0x0badbeef, little-endian (vdvs-facts 2.1).
VDVS_MAGIC = b"\xef\xbe\xad\x0b"
_KEYS = frozenset({"id", "left_ms", "type", "body"})
# How ``write`` begins an answer; all that is left is the body and a bracket.
_ANSWER = re.compile(rb'\{"id":"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})","left_ms":null,"type":"answer","body":')
# A string as a whole, also an unterminated one, or a bracket. Possessive, so that no input makes it go back.
_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)
# A string as a whole, kept as the first group, or an object or list with none inside.
_FLAT = re.compile(r'("[^"\\]*+(?:\\.[^"\\]*+)*+"?)|[\[{](?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+[\]}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Part(StrEnum):
    """What of a frame is still to come."""

    HEADER = "header"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. ``id`` is the call's, None for a notice; ``left_ms`` is the time left for a request, else None."""

    id: UUID | None
    left_ms: int | None
    type: str
    body: Any


@dataclass(frozen=True, slots=True)
class Written:
    """A body as the JSON that came. Nothing in it was looked at: it counts as much as whoever wrote it."""

    text: bytes

    def value(self) -> Any:
        """Return what it says; raise BadFrame as ``read`` does."""
        return parse(self.text)


class Decoder:
    """Cuts frames out of pieces of any size: ``feed`` a piece, then ``take`` until it returns None."""

    def __init__(self, limit: int = MAX_FRAME, cut: Callable[[bytes], Frame] | None = None) -> None:
        """``cut`` makes the frame of its bytes, ``read`` if it is None."""
        self._limit = limit
        self._cut = cut or read
        self._kept = bytearray()
        self._error: ProtocolError | None = None

    def feed(self, piece: bytes) -> None:
        """Keep a piece of the stream; after an error it is dropped."""
        if self._error is None:
            self._kept += piece

    def take(self) -> Frame | None:
        """Return the next frame, None if it is not whole yet.

        Raises BadFrame for what is not a frame and ProtocolVersion for a guest of vDVS; from then on each time.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._next()
        except ProtocolError as error:
            self._error = error
            self._kept.clear()
            raise

    @property
    def awaits(self) -> Part | None:
        """Tell which part of a begun frame is missing; None between two frames."""
        if not self._kept:
            return None
        return Part.HEADER if len(self._kept) < _HEADER.size else Part.BODY

    def _next(self) -> Frame | None:
        if len(self._kept) < _HEADER.size:
            return None
        (length,) = _HEADER.unpack_from(self._kept)
        if not 0 < length <= self._limit:
            raise self._refused_length(length)
        end = _HEADER.size + length
        if len(self._kept) < end:
            return None
        payload = bytes(self._kept[_HEADER.size : end])
        del self._kept[:end]
        return self._cut(payload)

    def _refused_length(self, length: int) -> ProtocolError:
        if self._kept.startswith(VDVS_MAGIC):
            return spoken_by_vdvs()
        return BadFrame(f"a frame of {length} bytes was announced; 1 to {self._limit} are allowed")


def spoken_by_vdvs() -> ProtocolVersion:
    """Return the error for a guest of the predecessor."""
    return ProtocolVersion(
        "the caller speaks the protocol of vSphere Docker Volume Service (vDVS), which this service does not",
        remedy="install vmdkvol's agent in that VM in place of the vDVS plugin",
    )


def write(frame: Frame, limit: int = MAX_FRAME) -> bytes:
    """Return the frame with its length before it; raise BadFrame if it is longer than ``limit``."""
    left_ms = None if frame.left_ms is None else max(0, min(frame.left_ms, MAX_LEFT_MS))
    name = None if frame.id is None else str(frame.id)
    payload = encode({"id": name, "left_ms": left_ms, "type": frame.type, "body": frame.body})
    if len(payload) > limit:
        raise BadFrame(f"a message of {len(payload)} bytes does not fit into a frame of {limit}")
    return _HEADER.pack(len(payload)) + payload


def read(payload: bytes) -> Frame:
    """Return the frame in ``payload``, which has no length before it; raise BadFrame if it is none."""
    data = parse(payload)
    if not isinstance(data, dict) or data.keys() != _KEYS:
        raise BadFrame("a frame is not an object of id, left_ms, type and body")
    name, left_ms, kind = data["id"], data["left_ms"], data["type"]
    if not (name is None or type(name) is str) or type(kind) is not str or not kind.isascii() or len(kind) > 64:
        raise BadFrame("a frame's id or type is not a text")
    if left_ms is not None and (type(left_ms) is not int or not 0 <= left_ms <= MAX_LEFT_MS):
        raise BadFrame(f"a frame's left_ms is not 0 to {MAX_LEFT_MS}")
    return Frame(None if name is None else _call_id(name), left_ms, kind, data["body"])


def read_unopened(payload: bytes) -> Frame:
    """As ``read``, but the body of an answer is Written: for answers of a peer of the same installation only."""
    head = _ANSWER.match(payload)
    if head is None or not payload.endswith(b"}"):
        return read(payload)
    return Frame(UUID(head[1].decode("ascii")), None, "answer", Written(payload[head.end() : -1]))


def encode(value: Any) -> bytes:
    """Return ``value`` as compact JSON. UTF-8 where it can be: a name in another script stays short."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        # A lone surrogate in a text of ours, say of an error: the escaped form always goes through.
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def parse(payload: bytes) -> Any:
    """Return the JSON value in ``payload``: UTF-8, no key twice, no number beyond 64 bits, at most 32 deep, or BadFrame."""
    try:
        text = payload.decode("utf-8")
        _check_depth(text)
        value = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"a frame is not JSON: {error}") from None
    if "\\u" in text and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise BadFrame("a frame has half a surrogate pair in a text")
    return value


def _check_depth(text: str) -> None:
    # The count of all opening brackets is a bound that is quick to get; most frames need no closer look.
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    # What has nothing inside is one deeper than where it stands. Most of a long frame are such, the rows of a listing: found at
    # once they take a quarter of the time.
    depth = 1
    for token in _BRACKETS.finditer(_FLAT.sub(r"\1", text)):
        first = token.group()[0]
        depth += (first in "[{") - (first in "]}")
        if depth > MAX_DEPTH:
            raise BadFrame(f"a frame is nested deeper than {MAX_DEPTH}")


def _integer(digits: str) -> int:
    # 64 bits hold every size, time and number of ours; the length is looked at before int() works on it.
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError("a number has more than 64 bits")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _constant(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _call_id(name: str) -> UUID:
    try:
        value = UUID(name)
    except ValueError:
        raise BadFrame("a frame's id is not a UUID") from None
    if str(value) != name:
        # UUID() reads braces, upper case and other scripts' digits; one call has one spelling.
        raise BadFrame("a frame's id is not a UUID in its usual form")
    return value
