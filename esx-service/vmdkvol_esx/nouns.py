"""The use cases that administrators have of volumes and vmgroups, made of what the guests' verbs are made of. Composition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vmdkvol.messages import Call, Request
from vmdkvol.volume import VmgroupId
from vmdkvol_esx.choosing import Choosing, Names
from vmdkvol_esx.custody import Custody
from vmdkvol_esx.datastores import Datastores
from vmdkvol_esx.ordering import Ordering
from vmdkvol_esx.overview import Overview
from vmdkvol_esx.requests import Verbs
from vmdkvol_esx.severing import Severing
from vmdkvol_esx.vmgroups import Vmgroups

Rows = Mapping[type[Request[Any]], Callable[[Any, Call], Any]]


def noun_rows(verbs: Verbs) -> Rows:
    """Return what each message is answered by whose noun needs no more than the use cases and their ports."""

    def names() -> Mapping[VmgroupId, str]:
        return {each.vmgroup.id: each.vmgroup.name for each in verbs.parts.store.groups()}

    return {**volume_rows(verbs, names), **Vmgroups(verbs.parts).rows(), **Datastores(verbs.parts, verbs.glance).rows()}


def volume_rows(verbs: Verbs, names: Names) -> Rows:
    """Return what each message about volumes is answered by; ``names`` are those of all vmgroups as they are now."""
    choosing = Choosing(verbs.parts.store, names)
    overview = Overview(verbs.parts, choosing, verbs.underway, verbs.glance)
    ordering = Ordering(verbs.parts, choosing, verbs.journal, verbs.underway)
    custody = Custody(verbs.parts, ordering, verbs.journal, verbs.owners, verbs.handover)
    severing = Severing(verbs.parts, ordering, verbs.journal, verbs.owners, verbs.handover, verbs.following)
    return {**overview.rows(), **custody.rows(), **severing.rows(), **verbs.resizing.rows()}
