"""Storage policies of directories: those that are made here. What one demands of a disk is read off the disk itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from vmdkvol.clock import Clock
from vmdkvol.errors import InvalidOption, VolumeError, quoted
from vmdkvol.policy_messages import Compliance, PolicyKind
from vmdkvol.sizes import short_size
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.local.datastore import DatastoreFiles
from vmdkvol_esx.naming_policies import unknown
from vmdkvol_esx.ports import DiskPath, DiskRef
from vmdkvol_esx.storage_policies import THICK, THIN, Followed, KnownPolicies, LocalPolicy

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
        demanded = known[policy].diskformat
        if not fits(demanded, thin=diskformat == THIN):
            remedy = "leave out diskformat" if demanded == THIN else "add -o diskformat=zeroedthick"
            raise InvalidOption(
                f"storage policy {quoted(policy)} demands a {demanded} disk, and this one has diskformat={diskformat}",
                remedy=f"{remedy}, or name another policy",
                policy=policy,
            )

    def followed(self, disks: Collection[DiskRef]) -> Mapping[DiskUuid, Followed]:
        """See ``StoragePolicies.followed``."""
        book, at = {each.name: each for each in self._book()}, self._clock.wall()
        found: dict[DiskUuid, Followed] = {}
        for ref in disks:
            # One that is damaged or not there says nothing; the others do.
            with suppress(VolumeError):
                found[ref.uuid] = followed(self._files(ref.path), ref, book, at)
        return found


def fits(demanded: str | None, *, thin: bool) -> bool:
    """Tell whether a disk that is thin or not is what a policy demands."""
    return demanded is None or (demanded == THIN) == thin


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
