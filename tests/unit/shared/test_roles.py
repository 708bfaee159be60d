"""What each role may ask and order: every message of administrators, by name."""

from __future__ import annotations

from vmdkvol.admin_requests import NOUNS, OWN
from vmdkvol.orders import ROOT, OrderFor, Query, Role

VIEWER = {
    "AdviseMaintenance",
    "GetDatastore",
    "GetPolicy",
    "GetTask",
    "GetVmgroup",
    "InspectVolume",
    "ListAllVolumes",
    "ListDatastores",
    "ListMembers",
    "ListPolicies",
    "ListPolicyVolumes",
    "ListTasks",
    "ListVmgroups",
    "ListVms",
    "ReadMetrics",
    "ReadVitals",
    "SiteStatus",
}
OPERATOR = {
    "CancelTask",
    "ExportAudit",
    "ListOrphans",
    "QueryAudit",
    "RenameVolume",
    "ResizeVolume",
    "RestoreVolume",
    "ScanDisks",
    "SetVolume",
    "TrashVolume",
}
ADMIN = {
    "AddMembers",
    "AdoptDisk",
    "CordonDatastore",
    "CreatePolicy",
    "CreateVmgroup",
    "CreateVolumeFor",
    "DestroyVolume",
    "DetachVolume",
    "EnrollVm",
    "MendOrphan",
    "MoveVolume",
    "ReleaseVolume",
    "RemoveMembers",
    "RemovePolicy",
    "RemoveRight",
    "RemoveVmgroup",
    "ReplaceMembers",
    "RevokeVm",
    "SetRight",
    "SetVolumePolicy",
    "UncordonDatastore",
    "UpdatePolicy",
    "UpdateVmgroup",
}


def test_every_message_is_for_the_role_that_stands_here() -> None:
    """A new one fails until somebody has decided whose it is."""
    found = {role: {kind.__name__ for kind in NOUNS if kind.needs is role} for role in Role}  # type: ignore[attr-defined]
    assert found == {Role.VIEWER: VIEWER, Role.OPERATOR: OPERATOR, Role.ADMIN: ADMIN}


def test_a_viewer_changes_nothing() -> None:
    assert [kind.__name__ for kind in NOUNS if issubclass(kind, OrderFor) and kind.needs is Role.VIEWER] == []
    assert all(issubclass(kind, Query | OrderFor) for kind in NOUNS)


def test_what_the_api_s_own_process_tells_comes_from_root() -> None:
    assert [kind.__name__ for kind in OWN] == ["NoteLogin"]
    assert ROOT.role is Role.ADMIN
