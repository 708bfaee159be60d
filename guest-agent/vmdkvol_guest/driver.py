"""The volume driver as Docker asks for it, in our words: create, remove, get, list, path, mount, unmount by name.

A volume has one name for Docker, the one it was created with; here it becomes an id (corrections 29, 30).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    InvalidOption,
    MissingTool,
    ServiceUnreachable,
    StaleRequest,
    StillWorking,
    TruthUnknown,
    VolumeError,
    VolumeNotFound,
    quoted,
)
from vmdkvol.messages import CreateVolume, RemoveVolume
from vmdkvol.names import VolumeRef, looks_anonymous
from vmdkvol.options import CreateOptions
from vmdkvol.points import Point
from vmdkvol.progress import still_working
from vmdkvol.volume import Holder, VolumeId, VolumeInfo, Work
from vmdkvol_guest.answers import Answer, Said, listed, may_say
from vmdkvol_guest.catalogue import Catalogue
from vmdkvol_guest.mounting import Mounting
from vmdkvol_guest.parts import Parts
from vmdkvol_guest.ports import Holdings
from vmdkvol_guest.status import rfc3339, status


@dataclass(frozen=True, slots=True)
class Shown:
    """What Docker is told of one volume. ``path`` is never empty, mounted or not; ``status`` only where it is shown."""

    name: str
    path: str
    created_at: str
    status: Mapping[str, Any] | None = None


class Driver:
    """``release`` takes a volume off this host, within an entry of its lane; ``wake`` makes the reconciler look."""

    def __init__(
        self,
        parts: Parts,
        catalogue: Catalogue,
        mounting: Mounting,
        release: Callable[[VolumeId], None],
        wake: Callable[[VolumeId | None], None],
    ) -> None:
        self._parts = parts
        self._catalogue = catalogue
        self._mounting = mounting
        self._release = release
        self._wake = wake

    # --- create and remove -------------------------------------------------------------------------------------

    def create(self, name: str, opts: Mapping[str, Any], deadline: Deadline) -> None:
        """Afterwards one volume of this name and these options exists; the same again is a success.

        Raises what is wrong with name or options before anything is sent, and NameConflict for a volume that differs.
        """
        parts = self._parts
        parts.at(Point.GUEST_CREATE_RECEIVED)
        ref = VolumeRef.for_create(name)
        options = CreateOptions.parse(opts)
        self._check(ref, options)
        parts.at(Point.GUEST_CREATE_VALIDATED)
        with _about(name), self._how_far(ref):
            work = partial(self._create, ref, options)
            # A lane for each set of options: which of two creates of one name comes first, the service says, and refuses
            # the other at once.
            parts.lanes.run(("create", ref.text, options), options, work, self._sooner(deadline), "creating it")

    def _check(self, ref: VolumeRef, options: CreateOptions) -> None:
        if None not in (ref.datastore, options.datastore) and ref.datastore != options.datastore:
            raise InvalidOption(
                f"the name {quoted(ref.text)} says datastore {ref.datastore}, the option says {options.datastore}",
                remedy="give the datastore once",
            )
        # A clone's file system is its source's: known to the service, found out here at the first mount.
        package = None if options.clone_from is not None else self._parts.filesystems.missing_tool(options.fstype)
        if package is not None:
            raise MissingTool(f"{options.fstype} needs the package {package} on this Docker host", package=package)

    def _create(self, ref: VolumeRef, options: CreateOptions) -> None:
        parts = self._parts
        ticket = self._catalogue.ticket()
        parts.at(Point.GUEST_CREATE_SENT)
        info = parts.ask(CreateVolume(ref, options), parts.limits.ask_s)
        parts.at(Point.GUEST_CREATE_ANSWERED)
        self._catalogue.remember(ticket, info)
        parts.log.info("created", name=info.name, volume=str(info.id), size_bytes=info.size_bytes)

    def remove(self, name: str, deadline: Deadline) -> None:
        """Afterwards the name is free. Refused while anything here has the volume, whatever Docker counts (D11)."""
        parts = self._parts
        parts.at(Point.GUEST_REMOVE_RECEIVED)
        ref = VolumeRef.parse(name)
        with _about(name), self._how_far(ref):
            volume = self._resolve(ref).id
            work = partial(self._remove, volume, ref)
            try:
                parts.lanes.run(volume, "remove", work, self._sooner(deadline), "removing it")
            except VolumeError:
                # It may have come half off this host.
                self._wake(volume)
                raise

    def _remove(self, volume: VolumeId, ref: VolumeRef) -> None:
        parts = self._parts
        self._release(volume)
        # The id may be the catalogue's alone: of one that is gone, or in the trash, the service says that it is removed.
        self._check_name(ref, volume)
        parts.at(Point.GUEST_REMOVE_CHECKED)
        try:
            parts.ask(RemoveVolume(volume), parts.limits.release_s)
        except VolumeNotFound:
            # Gone, by an earlier call whose answer was lost or by another host. That is what was asked for, if the name
            # was not taken again since.
            self._catalogue.forget(volume)
            self._check_name(ref, volume)
        parts.at(Point.GUEST_REMOVE_ANSWERED)
        self._catalogue.forget(volume)
        parts.log.info("removed", volume=str(volume))

    def _check_name(self, ref: VolumeRef, volume: VolumeId) -> None:
        """Raise StaleRequest if the name is another volume's by now; that one is kept."""
        try:
            now = self._catalogue.resolve(ref, self._parts.limits.look_s).id
        except VolumeNotFound:
            return
        if now != volume:
            raise StaleRequest(f"the volume {quoted(ref.text, 110)} was removed and made anew meanwhile; the new one is kept")

    # --- get, list and path: no lane, no waiting ---------------------------------------------------------------

    def get(self, name: str) -> Shown:
        """Return the volume; VolumeNotFound only if it is positively absent, TruthUnknown if that cannot be said."""
        own = self._mounted_here(name)
        if own is not None:
            short = self._parts.growths.short(own[0].id)
            return self._shown(own[0], name, status(*own, mounted=True, stale=False, short=short))
        info, stale = self._look_up(VolumeRef.parse(name))
        holdings = self._parts.notebook.holdings().get(info.id)
        mounted = holdings is not None and info.id in self._parts.mounts.mounted()
        # Not info.name: Docker must find the bytes that it asked for.
        short = self._parts.growths.short(info.id) if mounted else None
        return self._shown(info, name, status(info, holdings, mounted=mounted, stale=stale, short=short))

    def _mounted_here(self, name: str) -> tuple[VolumeInfo, Holdings] | None:
        """Return the volume as this host has it mounted, if the service was heard about it lately: no need to ask again.

        What is mounted here was neither removed nor given to another host (I1, I2). The use of space is the last word's.
        """
        known = self._parts.notebook.known(name)
        if known is None or not self._catalogue.fresh(known.id):
            return None
        noted = self._parts.notebook.holdings().get(known.id)
        if noted is None or noted.attachment is None or known.id not in self._parts.mounts.mounted():
            return None
        holder = Holder(self._parts.vm(), self._parts.vm_name(), noted.attachment.address)
        # What has grown here was told to this host by now.
        has = max(known.size_bytes, noted.attachment.size_bytes)
        return replace(known, attached_to=holder, content=noted.attachment.content, size_bytes=has), noted

    def list(self) -> list[Shown]:
        """Return all volumes but those that are being made, as ``catalogue`` says."""
        return [*self.shown(self.catalogue())]

    def catalogue(self) -> Collection[VolumeInfo]:
        """Return all volumes, as fresh as they can be had in time; from the catalogue while the service is away.

        Raises StillWorking or ServiceUnreachable if the catalogue was never filled: the engine then shows the names that
        it knows.
        """
        catalogue = self._catalogue
        if not catalogue.feed(self._parts.limits.list_s, patient=not catalogue.filled) and not catalogue.filled:
            if catalogue.listed:
                raise StillWorking(f"the volumes are being listed for the first time, {catalogue.listed} so far")
            raise ServiceUnreachable("the service was not reached yet, so the volumes are not known")
        return self._parts.notebook.catalogue()

    def shown(self, infos: Collection[VolumeInfo]) -> Sequence[Shown]:
        """Return what List tells of these volumes; follows from them alone."""
        return [self._shown(info, info.name) for info in infos if listed(info)]

    def path(self, name: str) -> str:
        """Return the path that containers of this host get, mounted or not."""
        known = self._parts.notebook.known(name)
        info = known or self._look_up(VolumeRef.parse(name))[0]
        return self._parts.mounts.path(info.id, info.options.layout)

    def _look_up(self, ref: VolumeRef) -> tuple[VolumeInfo, bool]:
        """Return the volume, and whether what is known of it may be old."""
        known = self._parts.notebook.known(ref.text)
        anonymous = looks_anonymous(ref.text)
        word = self._catalogue.hear(ref, patient=known is None and not anonymous)
        # The kernel is asked only where it decides something: Get comes several times for each container.
        here = word.said is Said.ABSENT and known is not None and self._catalogue.here(known.id)
        match may_say(word.said, known=known is not None, here=here, anonymous=anonymous):
            case Answer.FRESH if word.info is not None:
                return word.info, False
            case Answer.STALE if known is not None:
                return known, True
            case Answer.ABSENT:
                if known is not None:
                    self._parts.notebook.forget(known.id)
                raise VolumeNotFound(f"there is no volume {quoted(ref.text, 110)}", name=ref.text)
        raise TruthUnknown(f"the service cannot say whether there is a volume {quoted(ref.text, 110)}")

    def _shown(self, info: VolumeInfo, name: str, shown: Mapping[str, Any] | None = None) -> Shown:
        return Shown(name, self._parts.mounts.path(info.id, info.options.layout), rfc3339(info.created_at), shown)

    # --- mount and unmount -------------------------------------------------------------------------------------

    def mount(self, name: str, mount_id: str, deadline: Deadline) -> str:
        """Return the path, proved to lie on the volume's disk. A repeat, also with another ID, is fine."""
        ref = VolumeRef.parse(name)
        with _about(name), self._how_far(ref):
            volume, sooner = self._resolve(ref).id, self._sooner(deadline)
            try:
                return self._mounting.mount(volume, mount_id, sooner)
            except VolumeNotFound:
                # The catalogue's id is gone: the name may belong to a volume made since. Once, then it is an error
                # (corrections 9).
                self._catalogue.forget(volume)
                return self._mounting.mount(self._resolve(ref).id, mount_id, sooner)

    def unmount(self, name: str, mount_id: str, deadline: Deadline) -> None:
        """``mount_id`` holds nothing any more. A name or an ID that is not known here is fine."""
        with _about(name):
            volume = self._held_by(name, mount_id)
            if volume is not None:
                self._mounting.unmount(volume, mount_id, deadline)

    def _resolve(self, ref: VolumeRef) -> VolumeInfo:
        return self._parts.notebook.known(ref.text) or self._catalogue.resolve(ref, self._parts.limits.look_s)

    # --- long work ---------------------------------------------------------------------------------------------

    def _sooner(self, deadline: Deadline) -> Deadline:
        """Return the deadline of the work itself: what is left then is for the question how far it is."""
        return Deadline(deadline.clock, deadline.at - self._parts.limits.get_s)

    @contextmanager
    def _how_far(self, ref: VolumeRef) -> Iterator[None]:
        """Work that goes on after its caller's time says how far it is, also when the time passed in a lane here."""
        try:
            yield
        except StillWorking as error:
            work = None if "percent" in error.fields else self._work(ref)
            if work is None:
                raise
            raise still_working(ref.text, work) from error

    def _work(self, ref: VolumeRef) -> Work | None:
        info = self._catalogue.hear(ref).info
        return None if info is None else info.work

    def _held_by(self, name: str, mount_id: str) -> VolumeId | None:
        """Return the volume that an Unmount is for: what the ID holds, before what has the name now."""
        known = self._parts.notebook.known(name)
        holdings = self._parts.notebook.holdings()
        if known is not None and known.id in holdings and mount_id in holdings[known.id].ids:
            return known.id
        held = [volume for volume, noted in holdings.items() if mount_id in noted.ids]
        if len(held) == 1:
            return held[0]
        return None if known is None else known.id


@contextmanager
def _about(name: str) -> Iterator[None]:
    """Every error that leaves names the volume as the user knows it; inside it is an id or a device."""
    try:
        yield
    except VolumeError as error:
        if quoted(name) in error.text or f"volume {name}" in error.text:
            raise
        # A new one: several calls may have joined the same work, and this is their one error.
        named = type(error)(f"volume {quoted(name)}: {error.text}", remedy=error.remedy)
        named.fields = dict(error.fields)
        raise named from error
