"""The endpoint that `make test-esx` was given: a service's settings, whose first two hosts and datastores the suite uses."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import UUID

from vmdkvol.names import DatastoreName
from vmdkvol.settings import read_settings
from vmdkvol.volume import VmId
from vmdkvol_esx.ports import Vm
from vmdkvol_esx.settings import ServiceSettings

VARIABLE = "VMDKVOL_TEST_ESX"


@dataclass(frozen=True, slots=True)
class Names:
    """What the suite calls its datastores and machines."""

    big: DatastoreName
    small: DatastoreName
    first: Vm
    second: Vm


OURS = Names(
    DatastoreName("big"),
    DatastoreName("small"),
    Vm(VmId(UUID("4208aaaa-0000-4000-8000-00000000000a")), "host-a", running=True),
    Vm(VmId(UUID("4208bbbb-0000-4000-8000-00000000000b")), "host-b", running=True),
)


def file() -> Path | None:
    """Return the settings that were given, or None: the suite then has sites of its own."""
    path = os.environ.get(VARIABLE)
    return Path(path) if path else None


@cache
def settings() -> ServiceSettings:
    """Return them, as the service reads them."""
    given = file()
    assert given is not None, f"{VARIABLE} is not set"
    return read_settings(ServiceSettings, given)


def names() -> Names:
    """Return the names of the endpoint that was given, else our own."""
    if file() is None:
        return OURS
    told = settings()
    if told.vsphere is None or len(told.datastore_names) < 2 or len(told.hosts) < 2:
        raise AssertionError("the suite needs [vsphere] with two datastores, and two hosts whose machines are switched on")
    first, second = (Vm(host.id, host.name, running=True) for host in told.hosts[:2])
    return Names(told.datastore_names[0], told.datastore_names[1], first, second)
