"""How the service is as a whole, for whoever looks after it. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from vmdkvol.errors import VolumeError, one_line
from vmdkvol.messages import Call, Request
from vmdkvol.names import DatastoreName
from vmdkvol.task_messages import Count, SiteInfo, SiteStatus
from vmdkvol.vmgroup_messages import DEFAULT_NAME
from vmdkvol.volume import DEFAULT_VMGROUP, State, VmId
from vmdkvol_esx import filling
from vmdkvol_esx.ledger import Ledger
from vmdkvol_esx.listing import known_names
from vmdkvol_esx.orphans import is_nameless
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.told_commands import DEFAULT_RIGHT

# A site of a thousand vmgroups may have many; the list of vmgroups has all of them.
_MOST_QUOTAS = 20
_MOST_NAMES = 5
_LOOK = {
    State.LOST: "{} volumes are lost: their disks were not found; see `vmdkvol orphans ls`",
    State.DAMAGED: "{} volumes are damaged: the check of their file systems failed",
}


class Standing:
    """``connected`` tells whether a machine's agent is there now, ``service`` is the program and its version.

    ``strays`` tells how many disks without a record the last scan saw.
    """

    def __init__(
        self,
        parts: Parts,
        ledger: Ledger,
        connected: Callable[[VmId], bool],
        service: str,
        strays: Callable[[], int] = lambda: 0,
    ) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._lags = parts.lags
        self._clock = parts.clock
        self._ledger = ledger
        self._connected = connected
        self._service = service
        self._strays = strays
        self._began = parts.clock.monotonic()

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what each message is answered with."""
        return {SiteStatus: lambda *_: self.status()}

    def status(self) -> SiteInfo:
        """See ``SiteStatus``. What the hypervisor does not tell is among the trouble, and no error."""
        states, trouble, datastores, hosts = self._ledger.states(), [], 0, []
        try:
            found = self._hypervisor.datastores()
            datastores = len(found)
            for each in found:
                if each.problem is not None:
                    trouble.append(one_line(f"datastore {each.name} cannot be used: {each.problem}"))
                elif not each.writable:
                    trouble.append(one_line(f"datastore {each.name} is read-only"))
                elif (full := filling.fullness(each)) is not None:
                    trouble.append(one_line(f"datastore {each.name} is {full}"))
            trouble += self._of_gone({each.name for each in found})
            hosts = sorted(vm.name for vm in self._hypervisor.vms() if self._connected(vm.id))
        except VolumeError as error:
            trouble.append(str(error))
        trouble += [text.format(states[state]) for state, text in _LOOK.items() if states.get(state)]
        trouble += self._lost_halves()
        trouble += self._short()
        trouble += self._quotas()
        return SiteInfo(
            version=self._service,
            revision=self._store.change_number(),
            uptime_s=self._clock.monotonic() - self._began,
            states=tuple(Count(state.value, states.get(state, 0)) for state in State),
            open_work=len(self._store.open_intents()),
            hosts=tuple(hosts),
            datastores=datastores,
            trouble=tuple(trouble),
        )

    def _of_gone(self, known: Collection[DatastoreName]) -> Iterator[str]:
        """Tell of volumes on datastores that the service has not any more: everywhere else they look as ready as before."""
        groups = self._store.vmgroup_names()
        gone = {place for group in groups for place in self._store.usage(group)}.difference(known)
        if gone:
            named = known_names(sorted(gone))
            yield one_line(
                f"volumes lie on datastores that the settings do not name: {named}; `vmdkvol orphans ls` says what mends each"
            )

    def _lost_halves(self) -> Iterator[str]:
        """Tell of what a lost database leaves behind, and of disks that nobody has a record of: no person would look for it."""
        names = self._store.vmgroup_names()
        nameless = sum(is_nameless(key, name) and self._store.volume_count(key) > 0 for key, name in names.items())
        if nameless:
            yield (
                f"{nameless} vmgroups were lost with a database, and no machine is in them: `vmdkvol orphans ls` has the "
                "command that names each; then put its machines in (`vmdkvol vmgroup vm add`)"
            )
        default = self._store.group_by_id(DEFAULT_VMGROUP)
        kept = self._store.volume_count(DEFAULT_VMGROUP)
        if default is not None and not default.rights and kept:
            yield (
                f"{DEFAULT_NAME} has no right on any datastore, as after a rebuild without its database, and no machine may use"
                f" its {kept} volumes: when the other vmgroups have their machines, `{DEFAULT_RIGHT}`"
            )
        if strays := self._strays():
            what, each = ("1 disk has", "it") if strays == 1 else (f"{strays} disks have", "each")
            yield f"{what} no record: `vmdkvol orphans ls` has the command for {each}"

    def _short(self) -> Sequence[str]:
        records = (self._store.volume(volume) for volume in self._lags.volumes())
        names = sorted(record.name for record in records if record is not None and self._lags.of(record) is not None)
        if not names:
            return ()
        shown = ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" if names[_MOST_NAMES:] else "")
        return (one_line(f"file systems did not grow with their disks: {shown}; `vmdkvol volume inspect` says why"),)

    def _quotas(self) -> Sequence[str]:
        groups = (group for group in self._store.groups() if any(right.total_bytes is not None for right in group.rights))
        found = [line for group in groups for line in filling.nearly_used(group, self._store.usage(group.vmgroup.id))]
        told = [one_line(line) for line in sorted(found)[:_MOST_QUOTAS]]
        return told if len(found) <= _MOST_QUOTAS else [*told, f"{len(found) - _MOST_QUOTAS} more quotas are nearly used"]
