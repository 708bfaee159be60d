"""The head of a request as far as it says who asks and how much is still to come. Pure.

A glance: what it finds decides who waits for whom, and nothing else. A head that can be read in two ways lets nobody in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_END = b"\r\n\r\n"
_LENGTH = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Head:
    """``fields`` has the first of each name, in lower case; ``size`` are its bytes with the empty line at its end."""

    size: int
    fields: dict[str, str]

    def body(self, most: int) -> int:
        """Return how many bytes of a body to wait for: 0 if there are more than ``most``, or nobody knows how many."""
        length = self.fields.get("content-length", "")
        if not _LENGTH.fullmatch(length) or "transfer-encoding" in self.fields or "expect" in self.fields:
            return 0
        return int(length) if int(length) <= most else 0


def head_in(data: bytearray, looked: int) -> Head | None:
    """Return the head that ``data`` begins with, None if it is not whole yet. In the first ``looked`` bytes there is no end."""
    start = 0
    # Empty lines before a request are no head: who sends them has asked for nothing.
    while data.startswith((b"\r", b"\n"), start):
        start += 1
    end = data.find(_END, max(start, looked - len(_END)))
    if end < 0:
        return None
    fields: dict[str, str] = {}
    for line in bytes(data[start:end]).decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    return Head(end + len(_END), fields)
