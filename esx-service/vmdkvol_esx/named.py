"""Which virtual machines a person means: those of exactly these ids or names. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vmdkvol.admin_errors import VmNotFound
from vmdkvol.errors import BadRequest, Conflict, quoted
from vmdkvol_esx.ports import Vm
from vmdkvol_esx.records import Member


def one(name: str, vms: Sequence[Vm]) -> Vm:
    """Return the VM of this id or exact name. VmNotFound; a name or an id that several have names none of them: Conflict."""
    found = [vm for vm in vms if str(vm.id) == name.lower()] or [vm for vm in vms if vm.name == name]
    if not found:
        raise VmNotFound(f"there is no virtual machine {quoted(name)}")
    if len(found) > 1:
        ids = " and ".join(sorted(str(vm.id) for vm in found)[:3])
        raise Conflict(f"{len(found)} virtual machines have the name {quoted(name, 40)}: {ids}", remedy="give the id instead")
    return found[0]


def members(names: Sequence[str], known: Sequence[Member], machines: Callable[[], Sequence[Vm]]) -> tuple[Member, ...]:
    """Return the machines of these names or ids; ``known`` ones also by what they were called when they came in.

    ``machines`` returns all that there are, and is not asked where ids say it. Raises as ``one``, and BadRequest for one
    that is given twice.
    """
    if not names:
        return ()
    ids = {str(each.vm): each for each in known}
    others = [name for name in names if name.lower() not in ids]
    shown = machines() if others else ()
    called = {each.vm: each.name for each in known}
    # A machine has the name that it came with and the one that it has now, which may have been another's.
    vms = [Vm(each.vm, each.name, running=True) for each in known]
    vms += [vm for vm in shown if called.get(vm.id) != vm.name]
    found = [ids.get(name.lower()) or _member(one(name, vms)) for name in names]
    if len({each.vm for each in found}) < len(found):
        raise BadRequest("one virtual machine is given twice, by two of its names", remedy="give each once")
    return tuple(found)


def _member(vm: Vm) -> Member:
    return Member(vm.id, vm.name)
