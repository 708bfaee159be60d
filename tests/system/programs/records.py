"""Numbered records, each on its disk before it is told: a program for a container of a guest, and what reads them afterwards.

    records.py write FOLDER TOLD    until it is killed: four files that grow, and files that are renamed into place
    records.py check FOLDER         print as JSON the last number of each stream that is there with all before it

``TOLD`` gets a line "STREAM NUMBER" after the fsync that makes the record durable; all that is told must be there whatever
happens to the machine. Each record's bytes follow from stream and number, so that a foreign, torn or stale one is seen.
"""

from __future__ import annotations

import json
import os
import random
import struct
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

STREAMS = 4
RENAMED = "renamed"
# Of the renamed files, this many newest ones stay: a volume does not fill, and unlinks are in the journal as well.
KEPT = 50
_HEAD = struct.Struct("<IIQ")
_LONGEST = 6000
# Beyond it a file is begun anew: nothing fills the disk, however long it runs.
_FULL = 24 << 20


class Told:
    """Where lines go that must not be lost. One write is one line."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY)
        self._lock = threading.Lock()

    def __call__(self, stream: str, number: int) -> None:
        with self._lock:
            os.write(self._file, f"{stream} {number}\n".encode())


def record(stream: str, number: int) -> bytes:
    """Return the record's bytes: length, checksum, number, and content of a length and kind that no other one has."""
    content = random.Random(f"{stream} {number}")
    data = content.randbytes(content.randrange(1, _LONGEST))
    return _HEAD.pack(len(data), zlib.crc32(data, number & 0xFFFFFFFF), number) + data


def append(folder: Path, stream: str, told: Callable[[str, int], None]) -> None:
    """Append records to one file for ever; every second one by fdatasync."""
    file = os.open(folder / stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    flush(folder)
    number = 0
    while os.fstat(file).st_size < _FULL:
        number += 1
        os.write(file, record(stream, number))
        (os.fdatasync if number % 2 else os.fsync)(file)
        told(stream, number)


def rename(folder: Path, told: Callable[[str, int], None]) -> None:
    """Write files beside their place and rename them into it, for ever; the folder is flushed before that is told."""
    number = 0
    while True:
        number += 1
        new = folder / "new"
        with new.open("wb") as file:
            file.write(record(RENAMED, number))
            file.flush()
            os.fsync(file.fileno())
        new.rename(folder / f"{RENAMED}-{number}")
        # One more than are asked for stays: this unlink may be on the disk before that name is.
        (folder / f"{RENAMED}-{number - KEPT - 1}").unlink(missing_ok=True)
        flush(folder)
        told(RENAMED, number)


def flush(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def last_appended(folder: Path, stream: str) -> int:
    """Return the last number that is there whole, with all from 1 on before it. What follows it was never told."""
    data = (folder / stream).read_bytes() if (folder / stream).exists() else b""
    number = at = 0
    while data.startswith(expected := record(stream, number + 1), at):
        number += 1
        at += len(expected)
    return number


def last_renamed(folder: Path) -> int:
    """Return the highest number under which a file lies; 0 if one of those that should be there is not, or has other bytes."""
    names = (path.name.removeprefix(f"{RENAMED}-") for path in folder.glob(f"{RENAMED}-*"))
    last = max(map(int, names), default=0)
    for number in range(max(1, last - KEPT + 1), last + 1):
        path = folder / f"{RENAMED}-{number}"
        if not path.exists() or path.read_bytes() != record(RENAMED, number):
            return 0
    return last


def check(folder: Path) -> dict[str, int]:
    found = {f"w{each}": last_appended(folder, f"w{each}") for each in range(STREAMS)}
    return {**found, RENAMED: last_renamed(folder)}


def write(folder: Path, told: Callable[[str, int], None]) -> None:
    folder.mkdir(exist_ok=True)
    flush(folder.parent)
    streams = [threading.Thread(target=append, args=(folder, f"w{each}", told)) for each in range(STREAMS)]
    streams.append(threading.Thread(target=rename, args=(folder, told)))
    for stream in streams:
        stream.start()
    for stream in streams:
        stream.join()


def main(verb: str, folder: str, told: str = "") -> None:
    if verb == "check":
        print(json.dumps(check(Path(folder))))
    else:
        write(Path(folder), Told(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
