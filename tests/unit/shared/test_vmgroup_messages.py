"""What an administrator may ask about vmgroups, over the wire: all of it there and back, and nothing that looks like it."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from vmdkvol.errors import BY_CODE, BadFrame, from_code
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Actor, Order, Outcome, Plan, Role, Step
from vmdkvol.vmgroup_messages import (
    VMGROUP_REQUESTS,
    AddMembers,
    CreateVmgroup,
    DatastoreUsage,
    GetVmgroup,
    ListMembers,
    ListVmgroups,
    MemberInfo,
    MemberPage,
    RemoveMembers,
    RemoveRight,
    RemoveVmgroup,
    ReplaceMembers,
    RightInfo,
    SetRight,
    UpdateVmgroup,
    VmgroupInfo,
    VmgroupPage,
)
from vmdkvol.volume import VmgroupId, VmId
from vmdkvol.wire import dump, load

VM = VmId(UUID(int=7))
DS = DatastoreName("ds (1)")
INFO = VmgroupInfo(
    VmgroupId(UUID(int=1)),
    "dev",
    "the <team>",
    DS,
    (("size", "20gb"),),
    ("gold",),
    (RightInfo(DS, True, 1, None, ("gold",), 5), RightInfo(DatastoreName("_ALL_DS"), False, None, None, (), None)),
    (DatastoreUsage(DS, 5),),
    1,
    (MemberInfo(VM, "web-1", None),),
    1,
    3,
)
OUTCOME = Outcome(Plan((Step("add-right", "dev/ds (1)", None, "mount"),)), True, str(INFO.id), 4)
BY = Actor("ann", Role.ADMIN, "192.0.2.7")
EXAMPLES: list[tuple[Any, Any]] = [
    (ListVmgroups(after="dev", limit=5), VmgroupPage((INFO,), "dev")),
    (GetVmgroup(name="dev"), INFO),
    (ListMembers(name="dev", after=VM), MemberPage((MemberInfo(VM, "web-1", True),), VM)),
    (CreateVmgroup(name="dev", default_datastore="ds", vms=("a",), defaults=(("size", "1gb"),), by=BY, dry_run=True), OUTCOME),
    (UpdateVmgroup(name="dev", defaults=(("size", ""),), unset=("policies",), expect=3), OUTCOME),
    (UpdateVmgroup(name="dev"), OUTCOME),
    (RemoveVmgroup(name="dev", force=True), OUTCOME),
    (AddMembers(name="dev", vms=("a", "b")), OUTCOME),
    (RemoveMembers(name="dev", vms=("a",)), OUTCOME),
    (ReplaceMembers(name="dev", vms=("a",)), OUTCOME),
    (SetRight(name="dev", datastore="ds", allow_create=False, max_bytes=1, unset=("total_bytes",)), OUTCOME),
    (RemoveRight(name="dev", datastore="_ALL_DS"), OUTCOME),
]


def test_the_examples_have_every_message() -> None:
    assert {type(request) for request, _ in EXAMPLES} == set(VMGROUP_REQUESTS)


@pytest.mark.parametrize(("request_", "answer"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_a_message_and_its_answer_come_over_the_wire(request_: Any, answer: Any) -> None:
    assert load(type(request_), json.loads(json.dumps(dump(request_)))) == request_
    assert load(type(request_).answer, json.loads(json.dumps(dump(answer)))) == answer


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        (SetRight, {"max_bytes": "1"}),
        (SetRight, {"allow_create": 1}),
        (SetRight, {"policies": "gold"}),
        (AddMembers, {"vms": "abc"}),
        (AddMembers, {"vms": [1]}),
        (UpdateVmgroup, {"defaults": [["size"]]}),
        (UpdateVmgroup, {"defaults": {"size": "1gb"}}),
        (RemoveVmgroup, {"force": "true"}),
        (RemoveVmgroup, {"recursive": True}),
        (GetVmgroup, {"name": None}),
    ],
)
def test_a_body_of_another_type_is_refused(kind: Any, changed: dict[str, Any]) -> None:
    body = dump(next(request for request, _ in EXAMPLES if type(request) is kind)) | changed
    with pytest.raises(BadFrame):
        load(kind, body)


def test_every_message_that_changes_wants_an_administrator_and_none_that_looks_does() -> None:
    for kind in VMGROUP_REQUESTS:
        needed: Role = kind.needs  # type: ignore[attr-defined]
        assert needed is (Role.ADMIN if issubclass(kind, Order) else Role.VIEWER)


@pytest.mark.parametrize(
    "code",
    ["vmgroup-not-found", "vm-not-found", "right-not-found", "vmgroup-not-empty", "member-elsewhere", "default-vmgroup"],
)
def test_an_administrators_error_comes_as_itself(code: str) -> None:
    assert type(from_code(code, "text", {})) is BY_CODE[code]
    assert BY_CODE[code].explanation
