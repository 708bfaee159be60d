"""The first page: how the site is, at a glance. Pure."""

from __future__ import annotations

from vmdkvol.errors import VolumeError
from vmdkvol.site_messages import ListDatastores
from vmdkvol.task_messages import ListTasks, SiteStatus
from vmdkvol_esx.web.pages import quotas
from vmdkvol_esx.web.pages.visit import Drawn, Page, Unknown, Visit

# What is fullest is what one looks for here; the vmgroups' page has all.
_MOST_QUOTAS = 20


def show(visit: Visit) -> Drawn:
    """Show states, datastores, quotas and work. What cannot be read is said in its place."""
    status = visit.ask(SiteStatus())
    values = {
        "status": status,
        "datastores": visit.try_ask(ListDatastores(limit=200)),
        "tasks": visit.try_ask(ListTasks()),
        "more_quotas": 0,
        "first_groups": None,
    }
    try:
        found, first = quotas.read(visit)
        values |= {"quotas": found[:_MOST_QUOTAS], "more_quotas": len(found[_MOST_QUOTAS:]), "first_groups": first}
    except VolumeError as error:
        values["quotas"] = Unknown(error)
    return Drawn("overview.html", {**values, "unknown": Unknown})


PAGES = (Page("/ui/", show, "Overview"),)
