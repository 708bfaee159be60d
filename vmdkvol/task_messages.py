"""What an administrator may ask about work under way and about the site as a whole, and the answers. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from vmdkvol.messages import Request
from vmdkvol.orders import Order, Query, Role
from vmdkvol.volume import Doing, VolumeId


class TaskState(StrEnum):
    """``undone``: it did not happen, and nothing is left of it."""

    RUNNING = "running"
    DONE = "done"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it was raised, for who did not wait for it: its stable code, its cause, and what helps."""

    code: str
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A piece of work on a volume's disk. After a restart of the service it goes on if the hypervisor did, else it is undone.

    ``by`` is the machine or the administrator that asked for it, None: the service itself. ``percent`` and ``left_s`` (seconds,
    a guess) are known while it runs. ``ended_at`` is set once it has ended; ended work is remembered for a day.
    ``failure`` is why it was undone, None: the service was restarted since, and its log says more.
    """

    id: UUID
    volume: VolumeId
    volume_name: str | None
    doing: Doing
    state: TaskState
    since: float
    by: str | None
    percent: int | None = None
    left_s: int | None = None
    ended_at: float | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Tasks:
    """Open work first, then ended work, the newest first each."""

    tasks: tuple[TaskInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTasks(Query[Tasks]):
    """Work under way, and with ``ended`` also what has ended lately; at most ``limit`` of each."""

    ended: bool = False
    volume: VolumeId | None = None
    limit: int = 100
    answer: ClassVar[type] = Tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTask(Query[TaskInfo]):
    """One piece of work. TaskNotFound if there is none of this id, or it ended more than a day ago. To wait, ask again."""

    task: UUID
    answer: ClassVar[type] = TaskInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTask(Order):
    """Afterwards the work has ended and nothing is left of it; it may have been undone before.

    Only the making of a volume, where the hypervisor can stop it; who waits for the volume hears Conflict. NotCancellable, with
    the reason, for all else, and for what has ended well.
    """

    needs: ClassVar[Role] = Role.OPERATOR
    revised: ClassVar[bool] = False
    identified: ClassVar[bool] = False
    task: UUID


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are of something."""

    what: str
    count: int


@dataclass(frozen=True, slots=True)
class SiteInfo:
    """The service as a whole. ``trouble`` are lines that an administrator should look at.

    A service whose database cannot be used answers MetadataDamaged. ``revision`` is the number of the last write. ``states``
    counts volumes by state. ``hosts`` are the names of the machines whose agents are connected now, sorted.
    """

    version: str
    revision: int
    uptime_s: float
    states: tuple[Count, ...]
    open_work: int
    hosts: tuple[str, ...]
    datastores: int
    trouble: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStatus(Query[SiteInfo]):
    """How the service is, read just now."""

    answer: ClassVar[type] = SiteInfo


TASK_REQUESTS: tuple[type[Request[object]], ...] = (ListTasks, GetTask, CancelTask, SiteStatus)
