"""Guest memory and split virtqueues, seen from the device (virtio 1.2, 2.7), over memory that QEMU shares (vhost-user).

Notifications are never held back on either side, so that nothing hangs on the order of memory accesses.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

_DESCRIPTOR = struct.Struct("<QIHH")
_NEXT, _WRITABLE = 1, 2


@dataclass(frozen=True, slots=True)
class _Region:
    guest: int
    size: int
    user: int
    bytes: memoryview


class Memory:
    """The guest's memory; ``user`` addresses are QEMU's own, in which it tells where the queues lie."""

    def __init__(self) -> None:
        self._regions: list[_Region] = []

    def take(self, table: Sequence[tuple[int, int, int, int]], files: Sequence[int]) -> None:
        """Map what QEMU hands over: guest address, size, user address and offset of each file, which is closed."""
        self._regions = []
        for (guest, size, user, offset), file in zip(table, files, strict=True):
            whole = memoryview(mmap.mmap(file, size + offset))
            os.close(file)
            self._regions.append(_Region(guest, size, user, whole[offset : offset + size]))

    def view(self, address: int, size: int, *, user: bool = False) -> memoryview:
        for region in self._regions:
            base = region.user if user else region.guest
            if base <= address and address + size <= base + region.size:
                return region.bytes[address - base : address - base + size]
        raise ValueError(f"address {address:#x} with {size} bytes is not in the guest's memory")


@dataclass(frozen=True, slots=True)
class Buffers:
    """What the driver made available at once: ``head`` names it when it is given back."""

    head: int
    readable: tuple[memoryview, ...]
    writable: tuple[memoryview, ...]


class Ring:
    """One queue; ``kick`` is the event of the driver, ``call`` that of the device, -1 for none."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.size = 0
        # Of the next buffers that the driver makes available.
        self.next = 0
        self.kick = -1
        self.call = -1
        self.enabled = False
        self._placed = False
        self._used_index = 0

    def place(self, descriptors: int, used: int, available: int) -> None:
        """Tell where its three parts lie, in QEMU's addresses."""
        view = self._memory.view
        self._descriptors = view(descriptors, _DESCRIPTOR.size * self.size, user=True)
        self._available = view(available, 4 + 2 * self.size, user=True).cast("H")
        self._used_head = view(used, 4, user=True).cast("H")
        self._used = view(used + 4, 8 * self.size, user=True).cast("I")
        self._used_index = self._used_head[1]
        self._placed = True

    def stop(self) -> None:
        self._placed = self.enabled = False

    def pop(self) -> Buffers | None:
        if not (self._placed and self.enabled) or self._available[1] == self.next:
            return None
        head = index = self._available[2 + self.next % self.size]
        self.next = (self.next + 1) & 0xFFFF
        readable: list[memoryview] = []
        writable: list[memoryview] = []
        while True:
            address, size, flags, after = _DESCRIPTOR.unpack_from(self._descriptors, _DESCRIPTOR.size * index)
            (writable if flags & _WRITABLE else readable).append(self._memory.view(address, size))
            if not flags & _NEXT:
                return Buffers(head, tuple(readable), tuple(writable))
            index = after

    def push(self, head: int, written: int) -> None:
        """Give buffers back, with so many bytes written."""
        place = self._used_index % self.size
        self._used[2 * place], self._used[2 * place + 1] = head, written
        self._used_index = (self._used_index + 1) & 0xFFFF
        self._used_head[1] = self._used_index

    def signal(self) -> None:
        if self.call >= 0:
            os.eventfd_write(self.call, 1)
