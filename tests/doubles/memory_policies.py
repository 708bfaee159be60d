"""Storage policies of the store in dictionaries; its part of the port is ``storage_policies.LocalPolicies``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import RLock
from uuid import UUID

from tests.doubles.memory_groups import MemoryGroups
from vmdkvol.admin_errors import PolicyInUse
from vmdkvol.errors import NameConflict, StaleRequest
from vmdkvol.volume import VolumeId
from vmdkvol_esx.naming_policies import named_by
from vmdkvol_esx.records import Intent, VolumeRecord
from vmdkvol_esx.storage_policies import LocalPolicy


class MemoryPolicies:
    """Part of ``MemoryStore``."""

    lock: RLock
    _groups: MemoryGroups
    _intents: dict[UUID, Intent]
    _policies: dict[str, LocalPolicy]

    def local_policies(self) -> Sequence[LocalPolicy]:
        with self.lock:
            return tuple(self._policies[name] for name in sorted(self._policies))

    def put_policy(self, policy: LocalPolicy, *, expect: int | None) -> LocalPolicy:
        with self.lock:
            if expect is None and policy.name in self._policies:
                raise NameConflict(f"there is a storage policy {policy.name!r}")
            self._check_revision(policy.name, expect)
            self._policies[policy.name] = replace(policy, revision=1 if expect is None else expect + 1)
            return self._policies[policy.name]

    def remove_policy(self, name: str, *, expect: int) -> None:
        with self.lock:
            if name not in self._policies:
                return
            self._check_revision(name, expect)
            at_work = any(getattr(intent.change, "policy", None) == name for intent in self._intents.values())
            if self.policy_volumes().get(name) or named_by(name, self._groups.every()) or at_work:
                raise PolicyInUse(f"storage policy {name!r} is used")
            del self._policies[name]

    def policy_volumes(self) -> Mapping[str, int]:
        with self.lock:
            return Counter(record.options.policy for record in self._stored() if record.options.policy is not None)

    def under_policy(self, name: str, after: VolumeId | None, limit: int) -> Sequence[VolumeRecord]:
        with self.lock:
            found = (record for record in self._stored() if record.options.policy == name)
            later = (record for record in found if after is None or str(record.id) > str(after))
            return sorted(later, key=lambda record: str(record.id))[:limit]

    def _check_revision(self, name: str, expect: int | None) -> None:
        stored = self._policies.get(name)
        if expect is not None and (stored is None or stored.revision != expect):
            raise StaleRequest(f"the storage policy {name!r} was changed meanwhile")

    def _stored(self) -> list[VolumeRecord]:
        raise NotImplementedError
