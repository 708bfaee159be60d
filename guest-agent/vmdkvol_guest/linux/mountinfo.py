"""Reads the text of /proc/<pid>/mountinfo (proc(5)). Pure; a line that is not understood is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# The kernel writes blank, tab, newline and backslash in paths as three octal digits.
_ESCAPE = re.compile(r"\\([0-7]{3})")
_NUMBER = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One mount. ``id`` is unique on the machine; ``root`` is the part of the file system that is seen at ``path``."""

    id: int
    number: tuple[int, int]
    root: str
    path: str
    options: frozenset[str]
    fstype: str
    source: str
    super_options: frozenset[str]


def parse(text: str, words: str = "") -> Iterator[MountEntry]:
    """Yield the mounts in the order of the text: of several at one path the last one is on top.

    ``words``: only those in whose line this stands, which is quick beside hundreds of containers' mounts; characters that
    the kernel escapes must not be in it.
    """
    # Not splitlines(): a path may have characters, such as U+2028, that Python takes for line ends.
    for line in text.split("\n"):
        entry = _parse_line(line) if words in line else None
        if entry is not None:
            yield entry


def at(entries: Iterator[MountEntry], path: str) -> list[MountEntry]:
    """Return what is mounted exactly at ``path``, the top one last."""
    return [entry for entry in entries if entry.path == path]


def _parse_line(line: str) -> MountEntry | None:
    # "36 35 98:0 /root /path rw,noatime shared:1 master:2 - ext4 /dev/x rw,errors=continue"
    before, separator, after = line.partition(" - ")
    fields, rest = before.split(" "), after.split(" ")
    if not separator or len(fields) < 6 or len(rest) < 3:
        return None
    major, _, minor = fields[2].partition(":")
    if not all(_NUMBER.fullmatch(text) for text in (fields[0], major, minor)):
        return None
    return MountEntry(
        id=int(fields[0]),
        number=(int(major), int(minor)),
        root=_unescape(fields[3]),
        path=_unescape(fields[4]),
        options=frozenset(fields[5].split(",")),
        fstype=_unescape(rest[0]),
        source=_unescape(rest[1]),
        super_options=frozenset(rest[2].split(",")),
    )


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 8)), text)
