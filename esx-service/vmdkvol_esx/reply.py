"""The answer of one call, on its way into the transaction that ends the work it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from uuid import UUID

from vmdkvol.volume import VmId
from vmdkvol_esx.records import StoredAnswer, VolumeRecord

A = TypeVar("A")


class Reply:
    """Kept with the end of the work the answer costs no commit of its own, and no crash comes between the two (faults 7.1).

    Work that another call began, or that is no intent, leaves ``kept`` False: then the answer is kept when it is given.
    ``version`` is the protocol's that the caller reads it in.
    """

    def __init__(self, caller: VmId, call: UUID, write: Callable[[object], bytes], version: int) -> None:
        self._caller = caller
        self._call = call
        self._write = write
        self.version = version
        self.kept = False

    def of(self, answer: object) -> StoredAnswer:
        """Return what the store keeps when this call is answered with ``answer``."""
        return StoredAnswer(self._caller, self._call, self._write(answer))


class Answered(Generic[A]):
    """Whose call ends with the work. ``make`` tells the answer from the record as it will stand; ``told`` is what it told."""

    def __init__(self, reply: Reply, make: Callable[[VolumeRecord], A]) -> None:
        self.reply = reply
        self.told: A | None = None
        self._make = make

    def stored(self, done: VolumeRecord) -> StoredAnswer:
        """Return what the store keeps; raises what ``make`` raises."""
        self.told = self._make(done)
        return self.reply.of(self.told)
