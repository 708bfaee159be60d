"""Storage policies in the store: those that are made here, and which volumes are under which."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from tests.contract.store_benches import Stores, creating, new_record, raised, ready
from vmdkvol.admin_errors import PolicyInUse
from vmdkvol.errors import NameConflict, StaleRequest
from vmdkvol.names import DatastoreName
from vmdkvol.options import CreateOptions
from vmdkvol.volume import State, VmgroupId, VolumeId
from vmdkvol_esx.ports import Store
from vmdkvol_esx.records import Group, Right, Vmgroup, VolumeRecord
from vmdkvol_esx.storage_policies import LocalPolicy

GOLD = LocalPolicy("gold", "room that nobody else takes, ü", "thick")
RED = VmgroupId(UUID(int=0x5ED))


def under(store: Store, policy: str | None, name: str = "db") -> VolumeRecord:
    record = ready(store, name)
    options = CreateOptions.parse({"size": "1gb"} | ({} if policy is None else {"policy": policy}))
    record = replace(raised(record), options=options)
    store.update(record, expect=record.generation - 1)
    return record


def test_there_is_no_policy_at_first(store: Store) -> None:
    assert (store.local_policies(), dict(store.policy_volumes())) == ((), {})


def test_policies_outlive_the_process_in_the_order_of_names(stores: Stores) -> None:
    for policy in (GOLD, LocalPolicy("any")):
        assert stores.store.put_policy(policy, expect=None) == policy
    assert stores.again().local_policies() == (LocalPolicy("any"), GOLD)


def test_a_second_new_one_of_the_name_is_refused(store: Store) -> None:
    store.put_policy(GOLD, expect=None)
    with pytest.raises(NameConflict):
        store.put_policy(replace(GOLD, diskformat=None), expect=None)
    assert store.local_policies() == (GOLD,)


def test_a_change_raises_the_revision_and_needs_the_stored_one(store: Store) -> None:
    store.put_policy(GOLD, expect=None)
    changed = store.put_policy(replace(GOLD, diskformat="thin"), expect=1)
    assert changed == replace(GOLD, diskformat="thin", revision=2)
    for expect in (1, 3):
        with pytest.raises(StaleRequest):
            store.put_policy(GOLD, expect=expect)
        with pytest.raises(StaleRequest):
            store.remove_policy("gold", expect=expect)
    assert store.local_policies() == (changed,)


def test_a_change_of_one_that_is_gone_is_stale(store: Store) -> None:
    with pytest.raises(StaleRequest):
        store.put_policy(GOLD, expect=1)
    assert store.local_policies() == ()


def test_a_removed_one_is_gone_and_removed_again_too(stores: Stores) -> None:
    stores.store.put_policy(GOLD, expect=None)
    for _ in range(2):
        stores.store.remove_policy("gold", expect=1)
    assert stores.again().local_policies() == ()


@pytest.mark.parametrize("state", [State.READY, State.TRASHED, State.LOST, State.DAMAGED])
def test_one_is_not_removed_while_a_volume_in_any_state_is_under_it(store: Store, state: State) -> None:
    store.put_policy(GOLD, expect=None)
    record = under(store, "gold")
    store.update(replace(raised(record), state=state), expect=record.generation)
    with pytest.raises(PolicyInUse):
        store.remove_policy("gold", expect=1)
    assert store.local_policies() == (GOLD,)


def test_nor_while_a_volume_is_made_under_it(store: Store) -> None:
    store.put_policy(GOLD, expect=None)
    record = replace(new_record(), options=CreateOptions.parse({"size": "1gb", "policy": "gold"}))
    store.begin(creating(record), record)
    with pytest.raises(PolicyInUse):
        store.remove_policy("gold", expect=1)


def test_one_whose_last_volume_is_gone_can_be_removed(store: Store) -> None:
    store.put_policy(GOLD, expect=None)
    record = under(store, "gold")
    store.delete(record.id, expect=record.generation)
    store.remove_policy("gold", expect=1)
    assert store.local_policies() == ()


@pytest.mark.parametrize(
    "group",
    [
        pytest.param(Group(Vmgroup(RED, "red", None, policies=("gold",))), id="in-its-list"),
        pytest.param(Group(Vmgroup(RED, "red", None, defaults=(("policy", "gold"),))), id="as-its-default"),
        pytest.param(
            Group(Vmgroup(RED, "red", None), (Right(DatastoreName("ds1"), True, policies=("gold",)),)), id="in-a-rights-list"
        ),
    ],
)
def test_one_is_not_removed_while_a_vmgroup_names_it(store: Store, group: Group) -> None:
    store.put_policy(GOLD, expect=None)
    store.put_group(group, expect=None)
    with pytest.raises(PolicyInUse):
        store.remove_policy("gold", expect=1)
    store.delete_group(RED, expect=None)
    store.remove_policy("gold", expect=1)


def test_volumes_are_counted_under_the_policy_that_they_have(store: Store) -> None:
    for name, policy in (("a", "gold"), ("b", "gold"), ("c", 'si"lver'), ("d", None)):
        under(store, policy, name)
    assert dict(store.policy_volumes()) == {"gold": 2, 'si"lver': 1}


def test_volumes_under_a_policy_come_in_pages_in_the_order_of_ids(store: Store) -> None:
    records = sorted((under(store, "gold", name) for name in "abc"), key=lambda record: str(record.id))
    under(store, "silver", "d")
    assert store.under_policy("gold", None, 2) == records[:2]
    assert store.under_policy("gold", records[1].id, 2) == records[2:]
    assert store.under_policy("tin", None, 2) == []
    assert store.under_policy("gold", VolumeId(UUID(int=(1 << 128) - 1)), 2) == []
