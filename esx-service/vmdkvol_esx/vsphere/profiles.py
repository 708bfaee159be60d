"""Which storage policy goes along with a change of a machine, by its id.

Of an attach it is a wish: a volume is not kept from its containers because the policy service is out of reach, or because a
policy was removed. Then the disk comes without one, which is told by how it stands (``compliance``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import HypervisorUnreachable, InvalidOption, Unavailable, VolumeError, quoted
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.ports import AttachDisk, DiskRef, Log
from vmdkvol_esx.vsphere.batches import EnlargeDisk, LayPolicy, Move
from vmdkvol_esx.vsphere.faults import Meaning
from vmdkvol_esx.vsphere.policies import REMEMBERED_S, Policies
from vmdkvol_esx.vsphere.retries import anothers

# What an attach waits for its policy's id, which is mostly known.
ASK_S = 5.0
# So long a policy service that did not answer is not asked by those who can do without.
REST_S = 30.0
# So long an attach is not tried again with a policy that it was refused with: each try is a reconfigure of its machine.
REFUSED_S = 300.0
# What a server may say of a policy: that it is not there or fits not, that the account may not, or in words of its own. What
# is not known here leaves open how much was done; the machine is read anew before the next try.
_OF_POLICIES = frozenset(
    each.name for each in (Meaning.BAD_REQUEST, Meaning.FORBIDDEN, Meaning.NO_SUCH_CALL, Meaning.LICENCE, Meaning.OTHER)
)
# So may these, of one disk: a policy that reserves space, one that the device does not go with.
_OF_A_DISK = frozenset(each.name for each in (Meaning.FULL, Meaning.BAD_SPEC))
# So long an attach that failed with others goes without: longer than all of its tries take.
_SUSPECTED_S = 120.0


# What is not known here is a refusal too: laid on once more a policy does no harm, and where it was laid on that is seen.
_REFUSALS = frozenset(each.name for each in (Meaning.BAD_REQUEST, Meaning.NO_SUCH_CALL, Meaning.OTHER))


@contextmanager
def refusals_told(disk: DiskRef, policy: str | None) -> Iterator[None]:
    """Within, a policy is laid on a disk: InvalidOption in place of what the server has for one that it refuses."""
    try:
        yield
    except VolumeError as error:
        if error.fields.get("meaning") not in _REFUSALS:
            raise
        name = "its datastore's own policy" if policy is None else f"storage policy {quoted(policy, 60)}"
        raise InvalidOption(
            f"{name} is not laid on {disk.path}: {error.text}",
            remedy="name another policy; vCenter shows what the disk's datastore is compatible with",
            policy=policy or "",
        ) from error


class Rest:
    """For those who can do without the policy service: each of many would wait for it in vain. For any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = 0.0
        self._why = ""

    def check(self) -> None:
        """Raise HypervisorUnreachable, with the last reason, while it is not to be asked."""
        left = self._until - self._clock.monotonic()
        if left > 0:
            raise HypervisorUnreachable(f"not asked again for {ceil(left)} s: {self._why}")

    def begin(self, error: VolumeError) -> None:
        """It did not answer: from now on it has its rest, unless the error is an answer."""
        if isinstance(error, Unavailable):
            self._until, self._why = self._clock.monotonic() + REST_S, error.text

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Within, it is asked: raises as ``check``, and silence begins the rest. Who meets a rest does not lengthen it."""
        self.check()
        try:
            yield
        except VolumeError as error:
            self.begin(error)
            raise


class Profiles:
    """For any thread."""

    def __init__(self, policies: Policies, rest: Rest, clock: Clock, log: Log) -> None:
        self._policies = policies
        self._rest = rest
        self._clock = clock
        self._log = log
        self._lock = clock.condition()
        # By disks: the policies that attaches were refused with, and when; by datastores too, of which attaches without were
        # made: a policy that the account may not use is refused with each disk.
        self._refused: dict[DiskUuid | DatastoreName, dict[str, float]] = {}
        # Disks whose attaches failed with others, perhaps for a policy of one of them, and when.
        self._suspected: dict[DiskUuid, float] = {}
        # Disks whose attaches were refused alone and are tried without: what was said.
        self._told: dict[DiskUuid, str] = {}
        # The disks that came with their policies, by attaches of this process, and have not left.
        self._carried: set[DiskUuid] = set()

    def dropped(self, move: Move, error: VolumeError, *, shared: bool) -> bool:
        """Tell whether an attach that failed is to be made once more without its policy, which it may have failed for.

        ``shared``: all that went together go together once more, without; if that fails too, it was not for a policy.
        """
        if not isinstance(move, AttachDisk) or move.policy is None:
            return False
        meaning, disk = error.fields.get("meaning"), move.disk.uuid
        with self._lock:
            if disk not in self._carried:
                if anothers(error, shared=True):
                    self._suspected.pop(disk, None)
                return False
            if meaning not in _OF_POLICIES and (shared or meaning not in _OF_A_DISK):
                return False
            if shared:
                self._suspected[disk] = self._clock.monotonic()
            else:
                self._refused[disk] = {move.policy: self._clock.monotonic()}
                self._told[disk] = str(meaning)
        self._log.warning("its storage policy may be refused, tried without", disk=str(move.disk.path), error=str(error))
        return True

    def came(self, move: Move) -> None:
        """The change was made. An attach that was made without the policy it was refused with: so it was for that."""
        with self._lock:
            self._suspected.pop(move.disk.uuid, None)
            meaning = self._told.pop(move.disk.uuid, None)
            if not isinstance(move, AttachDisk) or move.policy is None or move.disk.uuid in self._carried:
                return
            if meaning in _OF_POLICIES:
                place = self._refused.setdefault(move.disk.path.datastore, {})
                place[move.policy] = self._clock.monotonic()

    def of(self, move: Move, deadline: Deadline) -> str | None:
        """Return the id of the policy that the disk comes under, empty: its datastore's own; None: nothing is said of that.

        PolicyNotFound, and what the server says, for a change of the policy alone; an attach goes without.
        """
        if isinstance(move, LayPolicy):
            return self._asked(move.policy, deadline.at_most(ASK_S))
        if isinstance(move, EnlargeDisk):
            return None
        found = None
        if isinstance(move, AttachDisk) and move.policy is not None and not self._is_refused(move):
            found = self._wished(move, move.policy, deadline.at_most(ASK_S))
        with self._lock:
            if found is None:
                self._carried.discard(move.disk.uuid)
            else:
                self._carried.add(move.disk.uuid)
        return found

    def carried(self, disk: DiskUuid) -> bool:
        """See ``StoragePolicies.carried``."""
        with self._lock:
            return disk in self._carried

    def _wished(self, move: AttachDisk, policy: str, deadline: Deadline) -> str | None:
        """Return the id for an attach, None if it cannot be told."""
        try:
            return self._asked(policy or None, deadline)
        except VolumeError as error:
            # An old id is still the likely one: if it is not, the attach is refused with it and made without.
            known = self._policies.remembered(policy) if isinstance(error, Unavailable) else None
            told = "attached without its storage policy" if known is None else "attached with what was known of its policy"
            self._log.warning(told, disk=str(move.disk.path), error=str(error))
            return known

    def _is_refused(self, move: AttachDisk) -> bool:
        now = self._clock.monotonic()
        with self._lock:
            if now - self._suspected.get(move.disk.uuid, -_SUSPECTED_S) < _SUSPECTED_S:
                return True
            for key in (move.disk.uuid, move.disk.path.datastore):
                lately = {policy: at for policy, at in self._refused.pop(key, {}).items() if now - at <= REFUSED_S}
                if lately:
                    self._refused[key] = lately
                if move.policy in lately:
                    return True
        return False

    def _asked(self, policy: str | None, deadline: Deadline) -> str:
        """Return the id. What is remembered needs no call, so the policy service's rest does not matter to it."""
        if policy is None:
            self._policies.check_there(deadline)
            return ""
        known = self._policies.remembered(policy, REMEMBERED_S)
        if known is not None:
            return known
        with self._rest.asking():
            return self._policies.id(policy, deadline)
