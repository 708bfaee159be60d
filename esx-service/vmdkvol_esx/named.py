"""Which virtual machine a person means: the one of exactly this id or name. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from vmdkvol.admin_errors import VmNotFound
from vmdkvol.errors import Conflict, quoted
from vmdkvol_esx.ports import Vm


def one(name: str, vms: Sequence[Vm]) -> Vm:
    """Return the VM of this id or exact name. VmNotFound; a name or an id that several have names none of them: Conflict."""
    found = [vm for vm in vms if str(vm.id) == name.lower()] or [vm for vm in vms if vm.name == name]
    if not found:
        raise VmNotFound(f"there is no virtual machine {quoted(name)}")
    if len(found) > 1:
        ids = " and ".join(sorted(str(vm.id) for vm in found)[:3])
        raise Conflict(f"{len(found)} virtual machines have the name {quoted(name, 40)}: {ids}", remedy="give the id instead")
    return found[0]
