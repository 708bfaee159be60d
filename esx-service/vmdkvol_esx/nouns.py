"""The use cases that administrators have of volumes, made of what the guests' verbs are made of. Composition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vmdkvol.messages import Call, Request
from vmdkvol_esx.choosing import Choosing, Names
from vmdkvol_esx.overview import Overview
from vmdkvol_esx.requests import Verbs

Rows = Mapping[type[Request[Any]], Callable[[Any, Call], Any]]


def volume_rows(verbs: Verbs, names: Names) -> Rows:
    """Return what each message about volumes is answered by; ``names`` are those of all vmgroups as they are now."""
    choosing = Choosing(verbs.parts.store, names)
    overview = Overview(verbs.parts, choosing, verbs.underway, verbs.glance)
    return {**overview.rows()}
