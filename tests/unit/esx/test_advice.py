"""What stands against maintenance: every case of what is there gives its lines, and only what cuts somebody off blocks."""

from __future__ import annotations

import shlex
from dataclasses import replace
from uuid import UUID

import pytest

from vmdkvol.advice_messages import Advice, MaintenanceAdvice, Matter, TargetKind
from vmdkvol.names import DatastoreName
from vmdkvol.volume import Doing, VmId
from vmdkvol_esx import advice
from vmdkvol_esx.advice import Doings, Held, Lying, Machine, Store
from vmdkvol_esx.esx_hosts import EsxHost
from vmdkvol_esx.ports import Datastore, Vm

GB = 1 << 30
A = VmId(UUID(int=0xA))
SAN, LOCAL, NFS = DatastoreName("san"), DatastoreName("local-1"), DatastoreName("nfs")
ON, OFF = Vm(A, "docker1", running=True), Vm(A, "docker1", running=False)
ESX1 = EsxHost("esx1", frozenset({A}), frozenset({SAN, LOCAL, NFS}))
ESX2 = EsxHost("esx2", frozenset(), frozenset({SAN}))
ESX3 = EsxHost("esx3", frozenset(), frozenset({NFS}))
TASK = Doings("11111111-2222-4333-8444-555555555555", "db", Doing.GROW)
EMPTY = Store(SAN, cordoned=True, lying=Lying())


def held(datastore: DatastoreName = SAN, volume: str = "db", **more: str) -> Held:
    return Held(volume, "prod", datastore, "docker1", **more)


def lines(found: MaintenanceAdvice) -> list[tuple[Matter, bool, str]]:
    return [(each.matter, each.blocks, each.about) for each in found.advice]


def of_host(*disks: Held, others: tuple[EsxHost, ...] = (ESX2,), vm: Vm = ON, host: EsxHost = ESX1) -> MaintenanceAdvice:
    found = advice.of_host(host, [host, *others], [Machine(vm, disks)], [])
    return advice.told(host.name, TargetKind.HOST, found)


def of_store(store: Store) -> MaintenanceAdvice:
    return advice.told(store.name, TargetKind.DATASTORE, advice.of_datastore(store))


# --- an ESXi host ------------------------------------------------------------------------------------------------

STUCK = (Matter.ATTACHED, True, "db")
GOES = (Matter.MOVES, False, "docker1")


@pytest.mark.parametrize(
    ("disks", "others", "expected"),
    [
        pytest.param((), (), [], id="a-machine-without-volumes-is-not-our-matter"),
        pytest.param((SAN,), (ESX2,), [GOES], id="on-a-shared-datastore-it-moves"),
        pytest.param((LOCAL,), (ESX2,), [STUCK], id="on-a-datastore-of-this-host-alone-it-does-not"),
        pytest.param((SAN,), (), [STUCK], id="where-there-is-no-other-host-it-does-not"),
        pytest.param((SAN,), (replace(ESX2, usable=False),), [STUCK], id="nor-to-a-host-that-takes-nobody"),
        pytest.param((SAN,), (replace(ESX2, usable=False), replace(ESX2, name="esx4")), [GOES], id="one-of-several-is-enough"),
        pytest.param((SAN, NFS), (ESX2, ESX3), [STUCK, STUCK], id="two-halves-are-no-whole"),
        pytest.param((SAN, NFS), (replace(ESX2, datastores=frozenset({SAN, NFS})),), [GOES], id="one-host-with-both"),
        pytest.param((SAN, LOCAL), (ESX2,), [STUCK], id="only-what-holds-it-back-is-told"),
    ],
)
def test_a_machine_leaves_its_host_with_all_its_disks_or_not_at_all(
    disks: tuple[DatastoreName, ...], others: tuple[EsxHost, ...], expected: list[object]
) -> None:
    found = of_host(*map(held, disks), others=others)
    assert lines(found) == expected
    assert found.ready is (STUCK not in expected)


def test_of_two_volumes_only_the_one_that_cannot_go_along_is_named() -> None:
    found = of_host(held(SAN, "shared"), held(LOCAL, "bound"))
    assert lines(found) == [(Matter.ATTACHED, True, "bound")]
    assert "no other host reaches local-1" in found.advice[0].detail


def test_a_machine_that_is_off_holds_nothing_up() -> None:
    assert of_host(held(LOCAL), vm=OFF) == MaintenanceAdvice("esx1", TargetKind.HOST, ready=True, advice=())


def test_a_machine_that_does_not_answer_may_have_anything() -> None:
    found = advice.told("esx1", TargetKind.HOST, advice.of_host(ESX1, [ESX1, ESX2], [Machine(ON, None)], []))
    assert lines(found) == [(Matter.UNKNOWN, True, "docker1")]


def test_machines_that_do_not_say_who_they_are_may_be_ours() -> None:
    found = of_host(host=replace(ESX1, unnamed=2))
    assert (lines(found), found.ready) == ([(Matter.UNKNOWN, True, "esx1")], False)


def test_work_is_waited_for_before_anything_is_moved() -> None:
    found = advice.told("esx1", TargetKind.HOST, advice.of_host(ESX1, [ESX1, ESX2], [Machine(ON, (held(),))], [TASK]))
    assert lines(found) == [(Matter.WORK, True, "db"), GOES]
    assert found.advice[0].command == f"vmdkvol task wait {TASK.task}"


# --- a Docker host's machine -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        pytest.param(Machine(ON, ()), [], id="it-has-nothing"),
        pytest.param(Machine(ON, (held(),)), [STUCK], id="it-runs-and-has-a-volume"),
        pytest.param(Machine(OFF, (held(),)), [], id="it-is-off-already"),
        pytest.param(Machine(ON, None), [(Matter.UNKNOWN, True, "docker1")], id="it-does-not-answer"),
        pytest.param(Machine(OFF, None), [(Matter.UNKNOWN, True, "docker1")], id="it-is-off-and-not-read"),
    ],
)
def test_a_machine_is_shut_down_when_it_has_nothing(machine: Machine, expected: list[object]) -> None:
    found = advice.told("docker1", TargetKind.VM, advice.of_machine(machine, []))
    assert (lines(found), found.ready) == (expected, not expected)


def test_a_snapshot_that_contains_the_disk_is_named_since_it_forbids_the_detach() -> None:
    (found,) = advice.of_machine(Machine(ON, (held(snapshot="before"),)), [])
    assert "snapshot 'before', which must go first" in found.detail


# --- a datastore -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        pytest.param(EMPTY, [], id="nothing-on-it"),
        pytest.param(replace(EMPTY, cordoned=False), [(Matter.OPEN, True, "san")], id="it-takes-new-volumes"),
        pytest.param(replace(EMPTY, held=[held()]), [STUCK], id="somebody-has-a-volume-of-it"),
        pytest.param(replace(EMPTY, work=[TASK]), [(Matter.WORK, True, "db")], id="work-is-under-way"),
        pytest.param(replace(EMPTY, silent=["docker2"]), [(Matter.UNKNOWN, True, "docker2")], id="a-machine-is-silent"),
        pytest.param(replace(EMPTY, lying=Lying(3, 9 * GB)), [(Matter.STAYS, False, "san")], id="volumes-that-nobody-has"),
        pytest.param(replace(EMPTY, lying=Lying(0, 0, 2, GB)), [(Matter.TRASH, False, "san")], id="something-in-the-trash"),
        pytest.param(replace(EMPTY, defaults=["prod"]), [(Matter.DEFAULT, False, "prod")], id="a-vmgroup-makes-volumes-there"),
    ],
)
def test_each_thing_on_a_datastore_is_one_line(store: Store, expected: list[object]) -> None:
    found = of_store(store)
    assert lines(found) == expected
    assert found.ready is not any(each.blocks for each in found.advice)


def test_what_is_in_the_way_stands_first() -> None:
    store = replace(EMPTY, cordoned=False, held=[held()], work=[TASK], lying=Lying(1, GB, 1, GB), defaults=["prod"])
    assert [each.matter for each in of_store(store).advice] == [
        Matter.WORK,
        Matter.ATTACHED,
        Matter.OPEN,
        Matter.STAYS,
        Matter.TRASH,
        Matter.DEFAULT,
    ]


def test_volumes_that_stay_are_told_with_where_most_is_free() -> None:
    others = [Datastore(NFS, 9 * GB, 2 * GB, True), Datastore(LOCAL, 9 * GB, 5 * GB, True)]
    (found,) = advice.of_datastore(replace(EMPTY, lying=Lying(1, 3 * GB), others=others))
    assert found.detail == "1 volume, 3gb in all, cannot be used meanwhile; most is free on local-1: 5gb"


def test_without_another_datastore_that_is_said() -> None:
    (found,) = advice.of_datastore(replace(EMPTY, lying=Lying(2, 3 * GB)))
    assert found.detail == "2 volumes, 3gb in all, cannot be used meanwhile; there is no other datastore"


# --- commands ----------------------------------------------------------------------------------------------------

WORST = "-$(reboot) 'a' \"b\" ;"


@pytest.mark.parametrize("name", ["db", "with blank", WORST, "日本", "--yes"])
def test_a_command_gives_a_shell_exactly_the_name(name: str) -> None:
    (found,) = advice.of_machine(Machine(ON, (replace(held(), volume=name, vmgroup=name),)), [])
    words = shlex.split(found.command)
    assert (words[:4], words[4], words[-1]) == (["vmdkvol", "volume", "detach", "--vmgroup"], name, name)
    assert ("--" in words[5:-1]) is name.startswith("-")


def test_a_detail_is_one_line_whatever_a_machine_is_called() -> None:
    worst = replace(ON, name="a\nb\x1b[2J")
    found: list[Advice] = [*advice.of_machine(Machine(worst, (replace(held(), vm=worst.name),)), [])]
    assert all(each.detail.isprintable() and each.command.isprintable() for each in found)
