"""What every use case of the agent is handed: the ports, the clock, the limits. Nothing here decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from vmdkvol.clock import Clock, Deadline
from vmdkvol.lanes import Lanes
from vmdkvol.messages import NEWEST_VERSION, Call, ListAttached, Request, Service
from vmdkvol.points import Point, pass_by
from vmdkvol.request_ids import derived
from vmdkvol.volume import Attachment, VmId, VolumeId
from vmdkvol_guest.arrivals import Arrivals
from vmdkvol_guest.growths import Growths
from vmdkvol_guest.ports import Device, Devices, Filesystems, Log, Mounts, Notebook

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. The first four are answers to Docker, which itself waits 120 s and 60 s (D11)."""

    create_s: float = 110.0
    mount_s: float = 110.0
    unmount_s: float = 50.0
    remove_s: float = 50.0
    # Get and List: what the service may take of the 2 s before they are answered from the catalogue (corrections 9).
    get_s: float = 0.5
    list_s: float = 1.0
    # A Get or List that only the service can answer waits so long for one that was just lost or is not reached yet.
    away_s: float = 1.0
    # Get of a volume that is mounted here is answered from what this host has and the service's word of this age (0025).
    here_s: float = 60.0
    # One question to the service inside a longer call; below create_s, so that its own error is what the user sees.
    ask_s: float = 100.0
    # Detach and Remove, for the same reason below remove_s.
    release_s: float = 40.0
    # Reads of the background: while they last, it does nothing else.
    look_s: float = 10.0
    find_s: float = 30.0
    linger_s: float = 10.0
    reconcile_s: float = 30.0
    # After a stop of the process longer than this, facts are read again before anything is done on them (F62).
    gap_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Parts:
    """``vm`` and ``vm_name`` return who the service says this host is; ServiceUnreachable before the first Hello.

    ``at`` is called at each crash point, ``new_id`` makes call ids and file-system UUIDs. ``up`` tells whether the service
    answers, as far as is known at this moment, ``speaks`` which protocol version it is spoken to in. ``request`` returns the
    id of Docker's request that is worked on, if it is one.
    """

    service: Service
    devices: Devices
    filesystems: Filesystems
    mounts: Mounts
    notebook: Notebook
    lanes: Lanes
    clock: Clock
    arrivals: Arrivals
    vm: Callable[[], VmId]
    vm_name: Callable[[], str]
    new_id: Callable[[], UUID]
    log: Log
    limits: Limits = Limits()
    at: Callable[[Point], None] = pass_by
    up: Callable[[], bool] = lambda: True
    growths: Growths = field(default_factory=Growths)
    speaks: Callable[[], int] = lambda: NEWEST_VERSION
    request: Callable[[], UUID | None] = lambda: None

    def ask(self, request: Request[A], seconds: float) -> A:
        """Ask the service once, under an id of its own; raises what it raised, ServiceUnreachable or StillWorking."""
        whole, fresh = self.request(), self.new_id()
        call = fresh if whole is None else derived(whole, fresh)
        return self.service.ask(request, Call(call, Deadline.after(self.clock, seconds)))

    def attached(self) -> dict[VolumeId, Attachment]:
        """Return what the service says is on this host just now."""
        answer = self.ask(ListAttached(), self.limits.look_s)
        return {attachment.volume: attachment for attachment in answer.attachments}

    def present(self, attachment: Attachment) -> Device | None:
        """Return the disk's device if this kernel has it at this moment; never waits for one."""
        return self.devices.present(self.vm(), attachment)
