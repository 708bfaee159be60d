"""All pages, in the order of the navigation, and all changes. Pure."""

from __future__ import annotations

from vmdkvol.orders import Role
from vmdkvol_esx.web.pages import (
    audit,
    datastores,
    disks,
    health,
    machines,
    maintenance,
    orphans,
    overview,
    policies,
    tasks,
    vmgroup_changes,
    vmgroups,
    volume_changes,
    volumes,
)
from vmdkvol_esx.web.pages.changing import Change
from vmdkvol_esx.web.pages.visit import Page

PAGES: tuple[Page, ...] = (
    *overview.PAGES,
    *volumes.PAGES,
    *vmgroups.PAGES,
    *machines.PAGES,
    *datastores.PAGES,
    *disks.PAGES,
    *maintenance.PAGES,
    *policies.PAGES,
    *tasks.PAGES,
    *orphans.PAGES,
    *audit.PAGES,
    *health.PAGES,
)
CHANGES: tuple[Change, ...] = (
    *volume_changes.CHANGES,
    *vmgroup_changes.CHANGES,
    *machines.CHANGES,
    *datastores.CHANGES,
    *disks.CHANGES,
    *policies.CHANGES,
    *tasks.CHANGES,
    *orphans.CHANGES,
)


def named_for(role: Role | None) -> list[tuple[str, str]]:
    """Return path and name of what stands in the navigation of whoever has this role, None: of nobody who has come in."""
    return [(page.path, page.name) for page in PAGES if page.name and role is not None and role.covers(page.needs)]
