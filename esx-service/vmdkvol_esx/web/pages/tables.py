"""All pages, in the order of the navigation, and all changes. Values only."""

from __future__ import annotations

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
