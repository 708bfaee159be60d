"""What vmgroups have of their quotas, the fullest first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vmdkvol.vmgroup_messages import ListVmgroups
from vmdkvol_esx.web.pages.visit import Visit

_ALL_DS, _VM_DS = "_ALL_DS", "_VM_DS"
# One answer, and no more: the page is there at once, also where there are a thousand vmgroups.
_MOST_GROUPS = 200


def read(visit: Visit) -> tuple[list[Mapping[str, Any]], int | None]:
    """Return the quotas of the site's first vmgroups, the fullest first, and of how many those are; None: of all."""
    page = visit.ask(ListVmgroups(limit=_MOST_GROUPS))
    found = sorted(of_groups(page["vmgroups"]), key=fullness, reverse=True)
    return found, None if page["next"] is None else len(page["vmgroups"])


def of_groups(groups: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Return a line for each limit of a vmgroup on a datastore that it uses or has a row for."""
    return (line for group in groups for line in _of_group(group))


def fullest(group: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the vmgroup's fullest quota, None if it has none."""
    return max(_of_group(group), key=fullness, default=None)


def fullness(line: Mapping[str, Any]) -> float:
    """Return the part that is used; of a quota of nothing more than of any other."""
    return line["used"] / line["total"] if line["total"] else float("inf")


def _of_group(group: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    totals = {right["datastore"]: right["total_bytes"] for right in group["rights"]}
    used = {usage["datastore"]: usage["used_bytes"] for usage in group["usage"]}
    # A row of its own counts before the one for all datastores.
    named = [name for name in totals if name not in (_ALL_DS, _VM_DS)]
    for datastore in dict.fromkeys([*named, *used]):
        total = totals.get(datastore, totals.get(_ALL_DS))
        if total is not None:
            yield {"vmgroup": group["name"], "datastore": datastore, "used": used.get(datastore, 0), "total": total}
