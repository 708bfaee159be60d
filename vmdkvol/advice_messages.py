"""What an administrator may ask before taking something away for maintenance, and the answers. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from vmdkvol.messages import Request
from vmdkvol.orders import Query


class TargetKind(StrEnum):
    """What can be in maintenance: an ESXi host, a virtual machine that is a Docker host, a datastore."""

    HOST = "host"
    VM = "vm"
    DATASTORE = "datastore"


class Matter(StrEnum):
    """What a piece of advice is about.

    These are in the way: ``work``: a change of a volume's disk is under way. ``unknown``: what a machine has is not known.
    ``attached``: a machine has a volume's disk, which does not go where the machine can go. ``open``: new volumes can still
    come to the datastore. These are only said: ``moves``: a machine can be migrated with its volumes. ``stays``: volumes that
    nobody can use meanwhile. ``trash``: volumes in the trash. ``default``: a vmgroup makes its new volumes there.
    """

    WORK = "work"
    UNKNOWN = "unknown"
    ATTACHED = "attached"
    OPEN = "open"
    MOVES = "moves"
    STAYS = "stays"
    TRASH = "trash"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Advice:
    """One line. ``about`` is the name of the volume, machine, vmgroup or datastore; ``command`` is what helps, empty: nothing.

    ``blocks``: as long as it is so, maintenance would cut somebody off or wait for ever.
    """

    matter: Matter
    blocks: bool
    about: str
    detail: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class MaintenanceAdvice:
    """What is in the way first. ``ready``: nothing is. ``more`` are the lines beyond a frame."""

    target: str
    kind: TargetKind
    ready: bool
    advice: tuple[Advice, ...]
    more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviseMaintenance(Query[MaintenanceAdvice]):
    """What stands against maintenance of an ESXi host, a Docker host's machine or a datastore, and what to do; read just now.

    ``target`` is the exact name, or a machine's id. NotFound if there is nothing of it; Conflict if several things have this
    name and ``kind`` does not say which is meant.
    """

    target: str
    kind: TargetKind | None = None
    answer: ClassVar[type] = MaintenanceAdvice


ADVICE_REQUESTS: tuple[type[Request[object]], ...] = (AdviseMaintenance,)
