"""ESXi hosts, as far as somebody who wants to take one away must know them: values and a port.

Every promise is a test in tests/contract/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmId


@dataclass(frozen=True, slots=True)
class EsxHost:
    """``vms`` are registered there, others' too; ``unnamed`` counts those of them that do not say who they are.

    ``datastores`` are those of ours that it reaches and may write on. ``usable``: it is connected, and not in maintenance.
    """

    name: str
    vms: frozenset[VmId]
    datastores: frozenset[DatastoreName]
    usable: bool = True
    unnamed: int = 0


class EsxHosts(Protocol):
    """Part of the hypervisor."""

    def esx_hosts(self) -> Sequence[EsxHost]:
        """Return the hosts that the account sees, by name; none where there are none. TruthUnknown if that is not known."""
        ...
