"""What stands against taking an ESXi host, a machine or a datastore away for a while: what was read in, advice out. Pure.

A machine that migrates takes its disks along, as long as a host that it can go to reaches their datastores. What cannot go
along must be given back first, or whoever uses it is cut off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from vmdkvol.advice_messages import Advice, MaintenanceAdvice, Matter, TargetKind
from vmdkvol.errors import one_line
from vmdkvol.names import DatastoreName
from vmdkvol.sizes import short_size
from vmdkvol.volume import Doing
from vmdkvol_esx.esx_hosts import EsxHost
from vmdkvol_esx.ports import Datastore, Vm
from vmdkvol_esx.told_commands import command

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Held:
    """A volume whose disk a machine has; ``datastore`` is where the disk is now, ``snapshot`` one that contains it."""

    volume: str
    vmgroup: str
    datastore: DatastoreName
    vm: str
    snapshot: str | None = None


@dataclass(frozen=True, slots=True)
class Doings:
    """A change of a volume's disk that has not ended; ``task`` is its id."""

    task: str
    volume: str
    doing: Doing


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of ours. ``held`` None: it does not answer, and what it has is not known."""

    vm: Vm
    held: tuple[Held, ...] | None


@dataclass(frozen=True, slots=True)
class Lying:
    """What lies on a datastore by the records: how many volumes, and their sum at capacity; those in the trash apart."""

    volumes: int = 0
    size_bytes: int = 0
    trashed: int = 0
    trashed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Store:
    """A datastore and what is read of it. ``silent`` are machines that do not answer and had a volume of it last."""

    name: DatastoreName
    cordoned: bool
    lying: Lying
    held: Sequence[Held] = ()
    work: Sequence[Doings] = ()
    silent: Sequence[str] = ()
    defaults: Sequence[str] = ()
    others: Sequence[Datastore] = field(default=())


def told(target: str, kind: TargetKind, found: Iterable[Advice]) -> MaintenanceAdvice:
    """Return the advice, what is in the way first."""
    matters = list(Matter)
    lines = sorted(found, key=lambda each: (not each.blocks, matters.index(each.matter), each.about))
    return MaintenanceAdvice(target, kind, not any(each.blocks for each in lines), tuple(lines))


def of_host(host: EsxHost, hosts: Collection[EsxHost], machines: Iterable[Machine], work: Iterable[Doings]) -> Iterator[Advice]:
    """Yield what is to be said before ``host`` goes: of ``machines`` on it, with the ``hosts`` that they may go to."""
    if host.unnamed:
        detail = f"{host.unnamed} machines on it do not say who they are: whether they have volumes is not known"
        yield _line(Matter.UNKNOWN, True, host.name, detail, command("vm", "ls"))
    others = [each for each in hosts if each.usable and each.name != host.name]
    for machine in machines:
        yield from _leaving(machine, host, others)
    yield from map(_of_work, work)


def of_machine(machine: Machine, work: Iterable[Doings]) -> Iterator[Advice]:
    """Yield what is to be said before the machine is shut down."""
    if machine.held is None:
        yield _unknown(machine.vm.name)
    elif machine.vm.running:
        yield from (_in_use(each, "") for each in machine.held)
    yield from map(_of_work, work)


def of_datastore(store: Store) -> Iterator[Advice]:
    """Yield what is to be said before nobody can reach the datastore."""
    if not store.cordoned:
        detail = "it takes new volumes"
        yield _line(
            Matter.OPEN, True, store.name, detail, command("datastore", "cordon", "--reason", "maintenance", of=store.name)
        )
    yield from (_in_use(each, " and would lose it") for each in store.held)
    yield from map(_unknown, store.silent)
    yield from map(_of_work, store.work)
    for group in store.defaults:
        detail = f"its new volumes lie on {store.name} unless another datastore is named: they are refused meanwhile"
        yield _line(
            Matter.DEFAULT, False, group, detail, command("vmgroup", "update", "--default-datastore", "OTHER", of=group)
        )
    if store.lying.volumes:
        yield _line(Matter.STAYS, False, store.name, _staying(store))
    if store.lying.trashed:
        detail = (
            f"{store.lying.trashed} volumes in the trash, {short_size(store.lying.trashed_bytes)} in all, cannot be restored"
        )
        yield _line(Matter.TRASH, False, store.name, f"{detail} meanwhile", command("volume", "ls", "--trash"))


# --- inside ----------------------------------------------------------------------------------------------------------


def _leaving(machine: Machine, host: EsxHost, others: Sequence[EsxHost]) -> Iterator[Advice]:
    """Yield what is to be said of a machine that must leave its host."""
    if machine.held is None:
        yield _unknown(machine.vm.name)
        return
    if not machine.held or not machine.vm.running:
        # The disks of one that is off leave it by themselves.
        return
    needed = {each.datastore for each in machine.held}
    goals = [each.name for each in others if needed <= each.datastores]
    if goals:
        detail = f"it can be migrated with its {_volumes(len(machine.held))}: {_listed(goals)} can take it"
        yield _line(Matter.MOVES, False, machine.vm.name, detail)
        return
    bound = [each for each in machine.held if not any(each.datastore in other.datastores for other in others)]
    for each in bound or machine.held:
        why = f"no other host reaches {each.datastore}" if bound else f"no other host reaches all of {_listed(sorted(needed))}"
        yield _in_use(each, f", and cannot leave {host.name} with it ({why})")


def _in_use(held: Held, why: str) -> Advice:
    snapshot = "" if held.snapshot is None else f"; it is part of the snapshot {held.snapshot!r}, which must go first"
    detail = f"{held.vm} has it{why}: stop the containers that use it there{snapshot}"
    return _line(
        Matter.ATTACHED, True, held.volume, detail, command("volume", "detach", "--vmgroup", held.vmgroup, of=held.volume)
    )


def _of_work(work: Doings) -> Advice:
    return _line(Matter.WORK, True, work.volume, f"its {work.doing} has not ended", command("task", "wait", work.task))


def _unknown(vm: str) -> Advice:
    detail = "it does not answer: which volumes it has is not known. Bring it back, or switch it off"
    return _line(Matter.UNKNOWN, True, vm, detail, command("volume", "ls", "--filter", f"last_vm={vm}"))


def _staying(store: Store) -> str:
    size = store.lying.size_bytes
    found = f"{_volumes(store.lying.volumes)}, {short_size(size)} in all, cannot be used meanwhile"
    best = max(store.others, key=lambda each: each.free_bytes, default=None)
    if best is None:
        return f"{found}; there is no other datastore"
    return f"{found}; most is free on {best.name}: {short_size(best.free_bytes)}"


def _line(matter: Matter, blocks: bool, about: str, detail: str, todo: str = "") -> Advice:
    return Advice(matter, blocks, about, one_line(detail), todo)


def _volumes(count: int) -> str:
    return "1 volume" if count == 1 else f"{count} volumes"


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
