"""What programs in a guest have told before it was killed, against what is there afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.system import ready
from tests.system.guest import Guest
from tests.system.machine import Machine

PROGRAMS = Path(__file__).parent / "programs"


def bring(guest: Guest, program: str) -> str:
    """Put a program of ``programs`` into the guest; return its path there."""
    path = f"/run/{program}"
    guest.sh(f"cat >{path}", given=(PROGRAMS / program).read_text(encoding="utf-8"))
    return path


def last_told(machine: Machine) -> dict[str, int]:
    """Return the highest number that each stream or client has told; AssertionError if one was told out of order."""
    last: dict[str, int] = {}
    for line in ready.acks(machine).splitlines():
        stream, number = line.split()
        assert int(number) == last.get(stream, 0) + 1, f"{stream} told {number} after {last.get(stream, 0)}"
        last[stream] = int(number)
    return last


def forget_told(machine: Machine) -> None:
    """What is told from now on counts alone. The program that told must have ended."""
    (machine.folder / "acks").write_bytes(b"")


def lost(told: Mapping[str, int], found: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Return the streams that lack what they have told: (told, found) of each."""
    return {stream: (number, found.get(stream, 0)) for stream, number in told.items() if found.get(stream, 0) < number}
