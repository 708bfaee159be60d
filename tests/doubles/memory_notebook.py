"""A notebook without files: what it is told is durable as long as the object lives."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from threading import RLock

from vmdkvol.volume import Attachment, VolumeId, VolumeInfo
from vmdkvol_guest.ports import Holdings


class MemoryNotebook:
    """The ``Notebook`` port in memory. ``reboot`` does what opening with another boot id does.

    ``durable`` False breaks the promise of the port, to see that it is noticed: a crash loses the last note of a volume.
    """

    def __init__(self) -> None:
        self.durable = True
        self._last: tuple[VolumeId, Holdings] | None = None
        self._lock = RLock()
        self._held: dict[VolumeId, Holdings] = {}
        self._infos: dict[VolumeId, VolumeInfo] = {}
        self._change: int | None = None

    def reboot(self) -> None:
        with self._lock:
            self._held.clear()

    def crash(self) -> None:
        """The agent is killed."""
        with self._lock:
            last, self._last = self._last, None
            if last is not None and not self.durable:
                self._keep(last[1])

    def hold(self, volume: VolumeId, mount_id: str) -> None:
        with self._lock:
            held = self._holding(volume)
            self._last = (volume, held)
            self._keep(replace(held, ids=held.ids | {mount_id}, linger_until=None))

    def drop(self, volume: VolumeId, mount_id: str) -> None:
        with self._lock:
            held = self._holding(volume)
            self._keep(replace(held, ids=held.ids - {mount_id}))

    def note(self, volume: VolumeId, *, attachment: Attachment | None, linger_until: float | None) -> None:
        with self._lock:
            self._keep(replace(self._holding(volume), attachment=attachment, linger_until=linger_until))

    def close(self, volume: VolumeId) -> None:
        with self._lock:
            self._held.pop(volume, None)

    def holdings(self) -> Mapping[VolumeId, Holdings]:
        with self._lock:
            return dict(self._held)

    def remember(self, *infos: VolumeInfo) -> None:
        with self._lock:
            for info in infos:
                stale = [known.id for known in self._infos.values() if known.name == info.name]
                for volume in stale:
                    del self._infos[volume]
                self._infos[info.id] = info

    def forget(self, *volumes: VolumeId) -> None:
        with self._lock:
            for volume in volumes:
                self._infos.pop(volume, None)

    def known(self, name: str) -> VolumeInfo | None:
        with self._lock:
            return next((info for info in self._infos.values() if info.name == name), None)

    def catalogue(self) -> Collection[VolumeInfo]:
        with self._lock:
            return tuple(sorted(self._infos.values(), key=lambda info: info.name))

    def change(self) -> int | None:
        return self._change

    def set_change(self, change: int | None) -> None:
        self._change = change

    def _holding(self, volume: VolumeId) -> Holdings:
        return self._held.get(volume, Holdings(volume))

    def _keep(self, held: Holdings) -> None:
        if held == Holdings(held.volume):
            self._held.pop(held.volume, None)
        else:
            self._held[held.volume] = held
