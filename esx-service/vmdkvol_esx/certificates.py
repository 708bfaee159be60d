"""The certificates that the service and its API serve with or were given, looked at just now. Composition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vmdkvol.clock import Clock
from vmdkvol.errors import VolumeError
from vmdkvol_esx import expiry
from vmdkvol_esx.expiry import Expiry
from vmdkvol_esx.identities import Identity
from vmdkvol_esx.settings import ServiceSettings
from vmdkvol_esx.store import SqlStore

if TYPE_CHECKING:
    from vmdkvol_esx.registry import Registry


class Certificates:
    """For any thread."""

    def __init__(self, settings: ServiceSettings, store: SqlStore, clock: Clock, registry: Registry | None) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._registry = registry

    def ends(self) -> Sequence[Expiry]:
        """Return when each one ends. Raises what the store raises; a file that cannot be read is told as such."""
        return (*self._of_guests(), *self._of_files())

    def _of_guests(self) -> Iterator[Expiry]:
        if self._registry is None:
            return
        authority = self._registry.authority
        yield Expiry(expiry.AUTHORITY, authority.not_after)
        yield _of_file(expiry.SERVICE, authority.service_file)
        newest: dict[object, Identity] = {}
        for each in self._store.identities():
            if each.revoked_at is None and (each.vm not in newest or newest[each.vm].not_after < each.not_after):
                newest[each.vm] = each
        first = min(newest.values(), key=lambda each: each.not_after, default=None)
        if first is not None:
            yield Expiry(expiry.AGENTS, first.not_after, of=f"first of {len(newest)}: {first.name}")

    def _of_files(self) -> Iterator[Expiry]:
        web, vsphere = self._settings.web, self._settings.vsphere
        for kind, path in (
            (expiry.API, None if web is None else web.certificate_file),
            (expiry.ADMINISTRATORS, None if web is None else web.admin_ca_file),
            (expiry.VSPHERE, None if vsphere is None else vsphere.ca_file),
        ):
            if path is not None:
                yield _of_file(kind, Path(path))


def _of_file(kind: str, path: Path) -> Expiry:
    from vmdkvol_esx.pem import first_end

    try:
        return Expiry(kind, first_end(path))
    except VolumeError as error:
        return Expiry(kind, None, error.text)
