"""The one table of the REST API: which method on which path is which message. Values only.

What a message says stands in its own fields: those that the path names come from the path, the others of a query from the
query string, the others of an order from the body (of a DELETE, which has none, from the query string).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vmdkvol.admin_messages import EnrollVm, ListVms, RevokeVm
from vmdkvol.admin_requests import NOUNS
from vmdkvol.adoption_messages import AdoptDisk, ReleaseVolume, ScanDisks
from vmdkvol.advice_messages import AdviseMaintenance
from vmdkvol.audit_messages import ExportAudit, QueryAudit
from vmdkvol.messages import Request
from vmdkvol.orders import OrderFor, Query
from vmdkvol.orphan_messages import ListOrphans, MendOrphan
from vmdkvol.policy_messages import (
    CreatePolicy,
    GetPolicy,
    ListPolicies,
    ListPolicyVolumes,
    RemovePolicy,
    SetVolumePolicy,
    UpdatePolicy,
)
from vmdkvol.resize_messages import ResizeVolume
from vmdkvol.site_messages import CordonDatastore, GetDatastore, ListDatastores, UncordonDatastore
from vmdkvol.task_messages import CancelTask, GetTask, ListTasks, SiteStatus
from vmdkvol.vmgroup_messages import (
    AddMembers,
    CreateVmgroup,
    GetVmgroup,
    ListMembers,
    ListVmgroups,
    RemoveMembers,
    RemoveRight,
    RemoveVmgroup,
    ReplaceMembers,
    SetRight,
    UpdateVmgroup,
)
from vmdkvol.volume_orders import (
    CreateVolumeFor,
    DestroyVolume,
    DetachVolume,
    InspectVolume,
    ListAllVolumes,
    MoveVolume,
    RenameVolume,
    RestoreVolume,
    SetVolume,
    TrashVolume,
)
from vmdkvol.watch_messages import ReadMetrics, ReadVitals

GET, POST, PUT, PATCH, DELETE = "GET", "POST", "PUT", "PATCH", "DELETE"


@dataclass(frozen=True, slots=True)
class Route:
    """A row. ``{field}`` in the path is a field of the message; ``makes``: what is done for the first time is answered 201.

    ``cursor`` is the field that goes on with a listing: in the API it is always called ``after``. ``most`` is how many items
    of it one page can have; who asks for more gets that many. ``other`` is the name of a second row of the same message.
    ``at`` is under which path lies what was made, where that is not the row's own.
    """

    method: str
    path: str
    message: type[Request[Any]]
    makes: bool = False
    cursor: str | None = None
    most: int = 0
    other: str = ""
    at: str = ""

    @property
    def name(self) -> str:
        return self.other or self.message.__name__

    @property
    def noun(self) -> str:
        """The part of the API that it belongs to: ``vmgroups``."""
        return self.path.split("/")[2]

    @property
    def reads(self) -> bool:
        return issubclass(self.message, Query)

    @property
    def long(self) -> bool:
        return issubclass(self.message, OrderFor) and self.message.long

    @property
    def has_body(self) -> bool:
        return self.method in (POST, PUT, PATCH)


def _list(path: str, message: type[Request[Any]], most: int = 100, cursor: str = "after") -> Route:
    return Route(GET, path, message, cursor=cursor, most=most)


# By noun. A message that the core does not take yet is not served, see ``served``.
ROUTES: tuple[Route, ...] = (
    _list("/v1/vms", ListVms, most=200),
    Route(POST, "/v1/vms/{vm}/enroll", EnrollVm),
    Route(POST, "/v1/vms/{vm}/revoke", RevokeVm),
    _list("/v1/vmgroups", ListVmgroups),
    Route(POST, "/v1/vmgroups", CreateVmgroup, makes=True),
    Route(GET, "/v1/vmgroups/{name}", GetVmgroup),
    Route(PATCH, "/v1/vmgroups/{name}", UpdateVmgroup),
    Route(DELETE, "/v1/vmgroups/{name}", RemoveVmgroup),
    _list("/v1/vmgroups/{name}/members", ListMembers),
    Route(POST, "/v1/vmgroups/{name}/members", AddMembers),
    Route(PUT, "/v1/vmgroups/{name}/members", ReplaceMembers),
    Route(POST, "/v1/vmgroups/{name}/members/remove", RemoveMembers),
    Route(DELETE, "/v1/vmgroups/{name}/members/{vms}", RemoveMembers, other="RemoveMember"),
    Route(PATCH, "/v1/vmgroups/{name}/rights/{datastore}", SetRight),
    Route(DELETE, "/v1/vmgroups/{name}/rights/{datastore}", RemoveRight),
    _list("/v1/datastores", ListDatastores, most=200),
    Route(GET, "/v1/datastores/{name}", GetDatastore),
    Route(POST, "/v1/datastores/{name}/cordon", CordonDatastore),
    Route(POST, "/v1/datastores/{name}/uncordon", UncordonDatastore),
    _list("/v1/policies", ListPolicies, most=200),
    Route(POST, "/v1/policies", CreatePolicy, makes=True),
    Route(GET, "/v1/policies/{name}", GetPolicy),
    Route(PATCH, "/v1/policies/{name}", UpdatePolicy),
    Route(DELETE, "/v1/policies/{name}", RemovePolicy),
    _list("/v1/policies/{name}/volumes", ListPolicyVolumes, most=200),
    _list("/v1/volumes", ListAllVolumes, most=1000),
    Route(GET, "/v1/volumes/{volume}", InspectVolume),
    Route(POST, "/v1/volumes", CreateVolumeFor, makes=True),
    Route(PATCH, "/v1/volumes/{volume}", SetVolume),
    Route(DELETE, "/v1/volumes/{volume}", TrashVolume),
    Route(POST, "/v1/volumes/{volume}/destroy", DestroyVolume),
    Route(POST, "/v1/volumes/{volume}/restore", RestoreVolume),
    Route(POST, "/v1/volumes/{volume}/rename", RenameVolume),
    Route(POST, "/v1/volumes/{volume}/move", MoveVolume),
    Route(POST, "/v1/volumes/{volume}/detach", DetachVolume),
    Route(POST, "/v1/volumes/{volume}/resize", ResizeVolume),
    Route(POST, "/v1/volumes/{volume}/release", ReleaseVolume),
    Route(POST, "/v1/volumes/{volume}/policy", SetVolumePolicy),
    _list("/v1/disks/{datastore}", ScanDisks),
    Route(POST, "/v1/disks/adopt", AdoptDisk, makes=True, at="/v1/volumes"),
    Route(GET, "/v1/orphans", ListOrphans),
    Route(POST, "/v1/orphans/mend", MendOrphan),
    Route(GET, "/v1/advice/maintenance", AdviseMaintenance),
    Route(GET, "/v1/tasks", ListTasks),
    Route(GET, "/v1/tasks/{task}", GetTask),
    Route(POST, "/v1/tasks/{task}/cancel", CancelTask),
    Route(GET, "/v1/status", SiteStatus),
    Route(GET, "/v1/health", ReadVitals),
    Route(GET, "/v1/metrics", ReadMetrics),
    _list("/v1/audit", QueryAudit, most=500, cursor="before"),
    _list("/v1/audit/export", ExportAudit, most=500),
)


def served(nouns: Iterable[type[Request[Any]]] = NOUNS, routes: Iterable[Route] = ROUTES) -> tuple[Route, ...]:
    """Return the rows whose messages the core takes."""
    taken = frozenset(nouns)
    return tuple(route for route in routes if route.message in taken)
