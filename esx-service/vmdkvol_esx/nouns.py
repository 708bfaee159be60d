"""The use cases that administrators have of volumes and vmgroups, made of what the guests' verbs are made of. Composition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vmdkvol.messages import Call, Request
from vmdkvol.volume import VmId
from vmdkvol_esx.adopting import Adopting
from vmdkvol_esx.advising import Advising
from vmdkvol_esx.assigning import Assigning
from vmdkvol_esx.choosing import Choosing
from vmdkvol_esx.commissioning import Commissioning
from vmdkvol_esx.custody import Custody
from vmdkvol_esx.datastores import Datastores
from vmdkvol_esx.discarding import Discarding
from vmdkvol_esx.ledger import Ledger
from vmdkvol_esx.mending import MendingOrphans
from vmdkvol_esx.ordering import Ordering
from vmdkvol_esx.overview import Overview
from vmdkvol_esx.policies import Policies
from vmdkvol_esx.prospecting import Prospecting
from vmdkvol_esx.releasing import Releasing
from vmdkvol_esx.requests import Verbs
from vmdkvol_esx.resizing import Resizing
from vmdkvol_esx.severing import Severing
from vmdkvol_esx.standing import Standing
from vmdkvol_esx.tasking import Tasking
from vmdkvol_esx.vmgroups import Vmgroups

Rows = Mapping[type[Request[Any]], Callable[[Any, Call], Any]]


def noun_rows(verbs: Verbs, ledger: Ledger, connected: Callable[[VmId], bool], service: str, strays: Callable[[], int]) -> Rows:
    """Return what each message is answered by whose noun needs no more than the use cases and their ports.

    ``connected`` tells whether a machine's agent is there, ``service`` is the program and its version, ``strays`` how many
    disks without a record the last scan saw.
    """
    parts, choosing = verbs.parts, Choosing(verbs.parts.store)
    ordering = Ordering(parts, choosing, verbs.journal, verbs.underway)
    discarding = Discarding(parts, ordering, verbs.removing, verbs.owners, verbs.handover)
    prospecting = Prospecting(parts, choosing)
    return {
        **Commissioning(parts, ledger, choosing, verbs.journal, verbs.listing, verbs.creating).rows(),
        **discarding.rows(),
        **MendingOrphans(parts, choosing, discarding).rows(),
        **Overview(parts, choosing, verbs.underway, verbs.glance).rows(),
        **Custody(parts, ordering, verbs.journal, verbs.owners, verbs.handover).rows(),
        **Severing(parts, ordering, verbs.journal, verbs.owners, verbs.handover, verbs.following).rows(),
        **Tasking(parts, ledger, verbs.underway, verbs.glance).rows(),
        **Standing(parts, ledger, connected, service, strays).rows(),
        **Resizing(parts, ordering, verbs.journal, verbs.owners, verbs.handover, verbs.underway).rows(),
        **Vmgroups(parts, discarding.trash, discarding.destroy, retention_s=verbs.removing.retention_s).rows(),
        **prospecting.rows(),
        **Adopting(parts, choosing, prospecting, verbs.journal).rows(),
        **Releasing(parts, ordering, verbs.removing, verbs.owners, verbs.handover).rows(),
        **Datastores(parts, verbs.glance).rows(),
        **Advising(parts, choosing).rows(),
        **Policies(parts, choosing).rows(),
        **Assigning(parts, ordering, verbs.journal, verbs.owners, verbs.handover).rows(),
    }
