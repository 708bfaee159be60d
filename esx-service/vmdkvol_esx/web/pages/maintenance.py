"""What stands against taking a host, a machine or a datastore away for a while, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmdkvol.advice_messages import AdviseMaintenance, TargetKind
from vmdkvol.errors import BadRequest, Conflict, NotFound, VolumeError, quoted
from vmdkvol_esx.web.pages.again import Again
from vmdkvol_esx.web.pages.visit import Drawn, Page, Visit


def show(visit: Visit) -> Drawn:
    """Show the form that asks, and the advice for what it names. Only looks."""
    target, kind = visit.query.maybe("target"), visit.query.maybe("kind")
    values = {"target": target, "kind": kind, "kinds": list(TargetKind), "slip": None, "found": None}
    if target is None:
        return Drawn("maintenance.html", values)
    try:
        found = visit.ask(AdviseMaintenance(target=target, kind=_kind(kind)))
    except Conflict as error:
        return _slip(visit, values, error, "kind")
    except (BadRequest, NotFound) as error:
        return _slip(visit, values, error, "target")
    return Drawn("maintenance.html", {**values, "found": found})


def _slip(visit: Visit, values: Mapping[str, Any], error: VolumeError, at: str) -> Drawn:
    return Drawn("maintenance.html", {**values, "slip": Again(visit.query, error, at)}, status=422, refused=error)


def _kind(text: str | None) -> TargetKind | None:
    if text is None:
        return None
    if text not in list(TargetKind):
        raise BadRequest(
            f"there is no kind {quoted(text, 40)}; there are: {', '.join(TargetKind)}", remedy="choose one of these"
        )
    return TargetKind(text)


PAGES = (Page("/ui/maintenance", show),)
