"""What was found out about an endpoint, for `doctor` to judge. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Presented:
    """The certificate that the server presents, and that is trusted. ``until`` is UTC seconds."""

    fingerprint: str
    until: float


@dataclass(frozen=True, slots=True)
class Server:
    """What the API says it is. ``ahead_s`` is how far its clock is before ours, ``within_s`` how exactly that is known."""

    product: str
    version: str
    vcenter: bool
    ahead_s: float
    within_s: float


@dataclass(frozen=True, slots=True)
class Granted:
    """Privileges on one object: whether the account has each. ``unasked`` says why the server could not be asked."""

    privileges: Mapping[str, bool] = field(default_factory=dict)
    unasked: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """A Docker host's machine. ``ref`` is None if no machine has the instance UUID; ``meant`` then is the instance UUID
    of the machine that has it as its BIOS UUID, if there is one.

    ``controllers`` counts PVSCSI controllers; ``enable_uuid`` is None if that cannot be read. ``reaches`` are the ids of the
    datastores of the ESXi host that it is on, None if those cannot be read.
    """

    ref: str | None
    name: str = ""
    connected: bool = False
    controllers: int = 0
    enable_uuid: bool | None = None
    meant: str = ""
    reaches: frozenset[str] | None = None
