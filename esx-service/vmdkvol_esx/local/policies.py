"""Storage policies of directories: those that are made here. What one demands of a disk is read off the disk itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import Unavailable, VolumeError
from vmdkvol.policy_messages import Compliance, PolicyKind
from vmdkvol.sizes import short_size
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.judging import NO_OTHER, check_demand, fits
from vmdkvol_esx.local.datastore import DatastoreFiles
from vmdkvol_esx.local.disk_files import Extent
from vmdkvol_esx.naming_policies import unknown
from vmdkvol_esx.ports import ChangePolicy, DiskPath, DiskRef
from vmdkvol_esx.storage_policies import LATE, THICK, THIN, Followed, KnownPolicies, LocalPolicy, Unseen

# Under this key a disk's descriptor names the policy that it is under.
NOTE = "policy"

# Returns the policies as they are now.
Book = Callable[[], Sequence[LocalPolicy]]


class Policies:
    """For any thread. ``book`` is asked each time: a policy that was made just now is found, one that is gone is not."""

    def __init__(self, book: Book, clock: Clock, files: Callable[[DiskPath], DatastoreFiles]) -> None:
        """``files`` returns the datastore that a path is on, or raises."""
        self._book = book
        self._clock = clock
        self._files = files

    def known(self) -> KnownPolicies:
        """See ``StoragePolicies.storage_policies``."""
        return KnownPolicies(PolicyKind.LOCAL, {each.name: each.description for each in self._book()})

    def check(self, policy: str | None, diskformat: str) -> None:
        """Raise PolicyNotFound for a policy that there is not, InvalidOption for one that such a disk does not fit."""
        if policy is None:
            return
        known = {each.name: each for each in self._book()}
        if policy not in known:
            raise unknown(policy, known)
        change = "leave out diskformat" if known[policy].diskformat == THIN else "add -o diskformat=zeroedthick"
        check_demand(known[policy], thin=diskformat == THIN, remedy=f"{change}, or name another policy")

    def check_fits(self, policy: str | None) -> None:
        """See ``StoragePolicies.check_fits``: a policy fits each directory."""
        known = self.known().descriptions
        if policy is not None and policy not in known:
            raise unknown(policy, known)

    def change(self, change: ChangePolicy, holder: Callable[[ChangePolicy, Extent], object]) -> None:
        """Let the descriptor name the policy, at once. ``holder`` raises if another one has the disk than is said."""
        known = {each.name: each for each in self._book()}
        files = self._files(change.disk.path)
        with files.extent(change.disk, writable=True) as extent:
            holder(change, extent)
            if extent.descriptor.note.get(NOTE) == change.policy:
                return
            if change.policy is not None:
                if change.policy not in known:
                    raise unknown(change.policy, known)
                check_demand(known[change.policy], thin=extent.descriptor.thin, remedy=NO_OTHER)
            files.noted(change.disk, NOTE, change.policy)

    def followed(self, disks: Collection[DiskRef], deadline: Deadline | None = None) -> Mapping[DiskUuid, Followed | Unseen]:
        """See ``StoragePolicies.followed``."""
        book, at = {each.name: each for each in self._book()}, self._clock.wall()
        found: dict[DiskUuid, Followed | Unseen] = {}
        unread: VolumeError | None = None
        for ref in disks:
            if deadline is not None and deadline.passed:
                found[ref.uuid] = Unseen(LATE, at)
                continue
            try:
                found[ref.uuid] = followed(self._files(ref.path), ref, book, at)
            except Unavailable as error:
                unread = error
            except VolumeError:
                # One that is damaged or not there says nothing; the others do.
                continue
        if unread is not None and not found:
            raise unread
        return found


def followed(files: DatastoreFiles, ref: DiskRef, book: Mapping[str, LocalPolicy], at: float) -> Followed:
    """Return how the disk stands to the policy that its descriptor names; raise a VolumeError if there is no such disk."""
    with files.extent(ref, writable=False) as extent:
        disk, allocated = extent.descriptor, os.fstat(extent.file).st_blocks * 512
    name = disk.note.get(NOTE)
    if name is None:
        return Followed(None, Compliance.NOT_APPLICABLE, at)
    if name not in book:
        return Followed(name, Compliance.UNKNOWN, at, "there is no such policy any more")
    demanded = book[name].diskformat
    if not fits(demanded, thin=disk.thin):
        is_now = THIN if disk.thin else THICK
        return Followed(name, Compliance.NOT_COMPLIANT, at, f"the policy demands a {demanded} disk, this one is {is_now}")
    # What a guest gave back, or a tool made sparse, is not there any more when it is needed.
    if demanded == THICK and allocated < disk.size_bytes:
        missing = short_size(disk.size_bytes - allocated)
        return Followed(name, Compliance.NOT_COMPLIANT, at, f"{missing} of the disk are not allocated")
    return Followed(name, Compliance.COMPLIANT, at)
