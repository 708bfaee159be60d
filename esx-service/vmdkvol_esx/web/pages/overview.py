"""The first page: how the site is, at a glance. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vmdkvol.site_messages import ListDatastores
from vmdkvol.task_messages import ListTasks, SiteStatus
from vmdkvol.vmgroup_messages import ListVmgroups
from vmdkvol_esx.web.pages.visit import Drawn, Page, Unknown, Visit

_ALL_DS, _VM_DS = "_ALL_DS", "_VM_DS"


def show(visit: Visit) -> Drawn:
    """Show states, datastores, quotas and work. What cannot be read is said in its place."""
    status = visit.ask(SiteStatus())
    groups = visit.try_ask(ListVmgroups())
    values = {
        "status": status,
        "datastores": visit.try_ask(ListDatastores(limit=200)),
        "quotas": groups if isinstance(groups, Unknown) else list(_quotas(groups["vmgroups"])),
        "more_groups": not isinstance(groups, Unknown) and groups["next"] is not None,
        "tasks": visit.try_ask(ListTasks()),
    }
    return Drawn("overview.html", {**values, "unknown": Unknown})


def _quotas(groups: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Return a line for each limit of a vmgroup on a datastore that it uses or has a row for, the fullest first."""
    lines = [line for group in groups for line in _of_group(group)]
    yield from sorted(lines, key=lambda line: line["used"] / max(line["total"], 1), reverse=True)


def _of_group(group: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    totals = {right["datastore"]: right["total_bytes"] for right in group["rights"]}
    used = {usage["datastore"]: usage["used_bytes"] for usage in group["usage"]}
    # A row of its own counts before the one for all datastores.
    named = [name for name in totals if name not in (_ALL_DS, _VM_DS)]
    for datastore in dict.fromkeys([*named, *used]):
        total = totals.get(datastore, totals.get(_ALL_DS))
        if total is not None:
            taken = used.get(datastore, 0)
            yield {"vmgroup": group["name"], "id": group["id"], "datastore": datastore, "used": taken, "total": total}


PAGES = (Page("/ui/", show, "Overview"),)
