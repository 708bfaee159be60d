"""Observe, plan, apply: brings each volume on this host to where it should be; with ``releasing`` the only detacher.

Runs at the start, by a timer, and when it is woken: after an Unmount, a failed Mount, a `Wanted`, an Activate. Facts are
read again in the volume's lane, so that nothing is done on what was true before somebody else's work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from vmdkvol.clock import Deadline, Worker
from vmdkvol.errors import ServiceUnreachable, StillWorking, VolumeError
from vmdkvol.messages import Keep
from vmdkvol.notices import Grown, Notice, Wanted
from vmdkvol.volume import Attachment, VolumeId
from vmdkvol_guest.agenda import Agenda, Due
from vmdkvol_guest.growing import Growing
from vmdkvol_guest.holders import stale
from vmdkvol_guest.parts import Parts
from vmdkvol_guest.plan import Facts, Said, Step, next_step
from vmdkvol_guest.ports import Holdings
from vmdkvol_guest.releasing import Releasing

# Adopt, roll back, unmount, detach, forget: more steps than there are in a row means two of them undo each other.
_MOST_STEPS = 6
# After a growth, or none: the service is told soon, and once of many.
_TOLD_S = 1.0

Attached = Mapping[VolumeId, Attachment]


class Reconcile:
    """``jitter`` returns a factor around 1 for the timer; ``chores`` run after each look at everything.

    A chore returns in how many seconds it is to go on, None if not before its time: everything is looked at again before
    it does, so that it holds up nothing.
    """

    def __init__(self, parts: Parts, jitter: Callable[[], float], chores: Sequence[Callable[[], float | None]] = ()) -> None:
        self._parts = parts
        self._chores = chores
        self._releasing = Releasing(parts)
        self._growing = Growing(parts)
        self._agenda = Agenda(parts.clock, parts.limits.reconcile_s, jitter)
        self._worker: Worker | None = None
        self._activated_at: float | None = None
        # Since when no other namespace was seen to have a held volume's device; begins anew with each Activate.
        self._unused_since: dict[VolumeId, float] = {}
        self._changed = parts.clock.condition()
        # Lane entries that have not begun, with the last look's facts for them: they will see whatever they are woken for.
        self._queued: dict[VolumeId, tuple[Attachment | None, Attached | None]] = {}

    # --- for others --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin, with a look at everything; whoever starts it calls ``stop``."""
        self._worker = self._parts.clock.start("reconcile", self._loop)

    def stop(self) -> None:
        """End the loop. Nothing is unmounted or detached by stopping: containers run on."""
        self._agenda.stop()
        if self._worker is not None:
            self._worker.join()

    def wake(self, volume: VolumeId | None = None) -> None:
        """Look at this volume soon, or at all of them; returns at once."""
        self._agenda.wake(volume)

    def told(self, notice: Notice) -> None:
        """A hint: somebody else waits for a disk, which lingers no longer, or a disk has grown. What is in use stays."""
        match notice:
            case Wanted():
                self._agenda.want(notice.volume)
            case Grown():
                # How large it is, the list of what is attached says.
                self._parts.growths.at_once(notice.volume)
                self._agenda.wake(None)

    def activated(self) -> None:
        """The engine came up: holders that it does not mount again may be of containers that are gone. Returns at once."""
        self._parts.arrivals.activated()
        self._activated_at = self._parts.clock.monotonic()
        self._unused_since = {}
        self._agenda.wake(None)

    def release(self, volume: VolumeId) -> None:
        """Take the volume off this host now; only within the caller's own entry of the volume's lane (corrections 12).

        Raises VolumeInUse naming who has it, and what the service raised; afterwards it is neither mounted nor attached.
        """
        self._releasing.release(volume)
        self._agenda.settled(volume)

    def look(self) -> None:
        """Send every volume that this host has anything of through its lane once; returns without waiting for them."""
        parts = self._parts
        wanted = self._agenda.wanted()
        noted = parts.notebook.holdings()
        attached: Attached | None = None
        try:
            attached = parts.attached()
        except VolumeError as error:
            parts.log.info("the list of attached disks is not known", error=str(error))
        here = {*noted, *parts.mounts.mounted(), *(attached or ())}
        for volume in sorted(here, key=str):
            self._send(volume, noted.get(volume, Holdings(volume)).attachment, attached)
        if attached is not None:
            self._agenda.not_here(wanted - here)

    # --- the loop ----------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while (due := self._agenda.wait()) is not None:
            try:
                self._turn(due)
            except Exception as error:  # noqa: BLE001 - top of a thread: one bad turn must not end all later ones
                self._parts.log.error("reconcile failed", error=f"{type(error).__name__}: {error}")

    def _turn(self, due: Due) -> None:
        if due.everything:
            self.look()
            self._growing.tell()
            for chore in self._chores:
                again_s = chore()
                if again_s is not None:
                    self._agenda.everything_in(again_s)
        for volume in due.volumes:
            self._send(volume, None, None)

    def _send(self, volume: VolumeId, noted: Attachment | None, attached: Attached | None) -> None:
        parts = self._parts
        with self._changed:
            queued = volume in self._queued
            if not queued or attached is not None:
                self._queued[volume] = noted, attached
        if queued:
            return
        try:
            # Equal to nothing: an entry that runs may have looked already. A deadline that has passed: the lane's own
            # thread does it, and a slow volume does not hold up the others.
            parts.lanes.run(volume, object(), partial(self._settle, volume), Deadline.after(parts.clock, 0.0), "looking")
        except StillWorking:
            pass

    # --- in the volume's lane ----------------------------------------------------------------------------------

    def _settle(self, volume: VolumeId) -> None:
        """Go step by step until there is nothing to do, or it must wait."""
        with self._changed:
            # ``noted`` is our note from before ``attached`` was read.
            noted, attached = self._queued.pop(volume)
        try:
            for _ in range(_MOST_STEPS):
                seen_at = self._parts.clock.monotonic()
                holdings, facts, told = self._observe(volume, noted, attached)
                attached = None  # It was said before the step that comes now.
                if self._parts.clock.monotonic() - seen_at > self._parts.limits.gap_s:
                    continue  # The process was stopped: read again before anything is done (F62).
                if not self._apply(next_step(facts), holdings, facts, told):
                    return
                self._agenda.end_pause(volume)
        except VolumeError as error:
            # An administrator hears of it the first time only; a device that is held elsewhere may stay so for days.
            if self._agenda.rest(volume):
                self._parts.log.warning("tried again later", volume=str(volume), reason=str(error))
        except Exception as error:  # noqa: BLE001 - nobody waits for this entry's result, so it would be lost
            self._agenda.rest(volume)
            self._parts.log.error("reconcile failed", volume=str(volume), error=f"{type(error).__name__}: {error}")

    def _observe(
        self, volume: VolumeId, noted: Attachment | None, attached: Attached | None
    ) -> tuple[Holdings, Facts, Attachment | None]:
        parts = self._parts
        holdings = parts.notebook.holdings().get(volume, Holdings(volume))
        mounted = volume in parts.mounts.mounted()
        if holdings.ids and mounted:
            holdings = self._without_stale(holdings)
        said, told, known = Said.UNKNOWN, None, holdings.attachment
        # Attached or detached since the list was read: then it says nothing about now.
        if attached is not None and holdings.attachment == noted:
            told = attached.get(volume)
            said = Said.ABSENT if told is None else Said.HERE
        facts = Facts(
            held=bool(holdings.ids),
            arriving=bool(parts.arrivals.ids(volume)),
            mounted=mounted,
            noted=holdings.attachment is not None,
            said=said,
            lingering=self._linger_left(holdings) > 0.0,
            wanted=volume in self._agenda.wanted(),
            resting=self._agenda.resting(volume),
            short=mounted and known is not None and parts.growths.due(known, told, parts.clock.monotonic()),
        )
        return holdings, facts, told

    def _linger_left(self, holdings: Holdings) -> float:
        if holdings.linger_until is None:
            return 0.0
        left = holdings.linger_until - self._parts.clock.monotonic()
        # A note that says more than the setting does is of an earlier setting.
        return left if left <= self._parts.limits.linger_s else 0.0

    def _apply(self, step: Step, holdings: Holdings, facts: Facts, told: Attachment | None) -> bool:
        """Do the step; tell whether there may be another one."""
        if step in (Step.ADOPT, Step.DETACH) and not self._parts.up():
            # Not to wait for it in the volume's lane: a Mount may come meanwhile, and a whole engine that starts with it.
            raise ServiceUnreachable("the service is away, so that the disk stays as it is")
        match step:
            case Step.STAY:
                self._stay(holdings, facts)
                return False
            case Step.FORGET:
                self._releasing.close(holdings.volume)
                self._agenda.settled(holdings.volume)
                return False
            case Step.GROW:
                if holdings.attachment is not None:
                    self._growing.follow(holdings.attachment, told)
                    self._agenda.everything_in(_TOLD_S)
            case Step.ROLL_BACK:
                self._roll_back(holdings)
            case Step.UNMOUNT:
                self._unmount(holdings)
            case Step.ADOPT:
                self._adopt(holdings.volume)
            case Step.DETACH:
                if holdings.attachment is not None:
                    self._releasing.detach(holdings.attachment)
                    self._agenda.settled(holdings.volume)
        return True

    def _stay(self, holdings: Holdings, facts: Facts) -> None:
        if facts.wanted and facts.held and facts.mounted:
            self._keep(holdings.volume)
        if facts.held or facts.arriving:
            self._agenda.settled(holdings.volume)
        elif facts.lingering and not facts.resting and holdings.linger_until is not None:
            self._agenda.look_again(holdings.volume, holdings.linger_until)

    def _keep(self, volume: VolumeId) -> None:
        """Say that the volume is in use here: who waits for it need not wait until its patience ends."""
        try:
            self._parts.ask(Keep(volume), self._parts.limits.list_s)
        except VolumeError as error:
            self._parts.log.info("not told that the volume is in use", volume=str(volume), error=str(error))

    def _roll_back(self, holdings: Holdings) -> None:
        """Drop holders whose Mount was never answered: nothing is mounted for them, and the claim says nobody has the disk."""
        if holdings.attachment is not None:
            self._releasing.prove_unused(holdings.attachment)
        gone = self._parts.arrivals.drop(holdings.volume, holdings.ids, self._parts.notebook.drop)
        self._parts.log.warning("dropped holders without a mount", volume=str(holdings.volume), holders=len(gone))

    def _unmount(self, holdings: Holdings) -> None:
        parts, volume = self._parts, holdings.volume
        parts.mounts.unmount(volume)
        if holdings.attachment is not None:
            linger_until = parts.clock.monotonic() + parts.limits.linger_s
            parts.notebook.note(volume, attachment=holdings.attachment, linger_until=linger_until)
        parts.log.info("unmounted without a holder", volume=str(volume))

    def _adopt(self, volume: VolumeId) -> None:
        """Note an attachment that only the service knew, as it is now; without a holder the next step detaches it."""
        attachment = self._parts.attached().get(volume)
        if attachment is None:
            return
        self._parts.notebook.note(volume, attachment=attachment, linger_until=None)
        self._parts.log.info("adopted", volume=str(volume), generation=attachment.generation)

    def _without_stale(self, holdings: Holdings) -> Holdings:
        """Drop holders whose container is gone, as ``holders.stale`` says; return what is left."""
        parts, volume, activated_at = self._parts, holdings.volume, self._activated_at
        renewed = parts.arrivals.renewed(volume)
        if activated_at is None or holdings.attachment is None or holdings.ids <= renewed:
            return holdings
        unused_since = self._unused(holdings.attachment)
        now = parts.clock.monotonic()
        gone = stale(holdings.ids, renewed=renewed, activated_at=activated_at, unused_since=unused_since, now=now)
        if not gone:
            return holdings
        dropped = parts.arrivals.drop(volume, gone, parts.notebook.drop)
        parts.log.warning("dropped holders whose containers are gone", volume=str(volume), holders=len(dropped))
        return Holdings(volume, holdings.ids - dropped, holdings.attachment, holdings.linger_until)

    def _unused(self, attachment: Attachment) -> float | None:
        """Return since when no other mount namespace was seen to have the disk; None if one has, or that is not known."""
        try:
            device = self._parts.present(attachment)
        except VolumeError:
            device = None
        if device is None or self._parts.mounts.users(device):
            self._unused_since.pop(attachment.volume, None)
            return None
        return self._unused_since.setdefault(attachment.volume, self._parts.clock.monotonic())
