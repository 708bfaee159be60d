"""Which machine runs with a VMCI context id, the CID of its vsock: the hypervisor's word on who calls (faults 3.2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from vmdkvol.volume import VmId
from vmdkvol_esx.vsphere.machine import Machine

# Those of these machines that certainly run, each as it is now.
Running = Callable[[Sequence[VmId]], Mapping[VmId, Machine]]


class Contexts:
    """For any thread. Each answer is of now; what is kept only says whom to ask first."""

    def __init__(self, hosts: Collection[VmId], running: Running, at_once: int) -> None:
        """``hosts`` are the machines of the service, which may become more; ``at_once`` are read in one go."""
        self._hosts = hosts
        self._running = running
        self._at_once = at_once
        self._last: Mapping[int, VmId] = {}

    def vm(self, context_id: int) -> VmId | None:
        """Return the machine of ours that runs with this id; None if that is not exactly one.

        One that had it alone when all were looked at is asked by itself: when the service has started each agent of a site
        calls, and to look at all for each would take for ever.
        """
        wanted = context_id % 2**32
        last = self._last.get(wanted)
        if last is not None and last in self._hosts:
            now = self._running([last]).get(last)
            if now is not None and now.context_id == wanted:
                return last
        alone = self._all()
        self._last = alone
        return alone.get(wanted)

    def _all(self) -> Mapping[int, VmId]:
        """Return the ids that just one running machine has."""
        hosts = sorted(self._hosts)
        having: dict[int, list[VmId]] = defaultdict(list)
        for at in range(0, len(hosts), self._at_once):
            for vm, machine in self._running(hosts[at : at + self._at_once]).items():
                if machine.context_id is not None:
                    having[machine.context_id].append(vm)
        return {context_id: vms[0] for context_id, vms in having.items() if len(vms) == 1}
