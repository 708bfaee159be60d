"""When certificates end, and what of that somebody should look at. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vmdkvol.findings import FAIL, OK, WARN, Finding

AUTHORITY, SERVICE, AGENTS = "authority", "service", "agents"
API, ADMINISTRATORS, VSPHERE = "api", "administrators", "vsphere"
_DAY_S = 86400.0
# Somebody has to renew it, and needs time for that.
_SOON_S = 30 * _DAY_S
# Renewed by themselves when 30 of 90 days are left: with so few, the renewal does not work.
_LATE_S = 20 * _DAY_S
_NAMES: Mapping[str, str] = {
    AUTHORITY: "site's authority",
    SERVICE: "service",
    AGENTS: "agents",
    API: "REST API",
    ADMINISTRATORS: "administrators' authority",
    VSPHERE: "vSphere's authority",
}
_FIXES: Mapping[str, str] = {
    AUTHORITY: "see docs/how-to/enrol.md",
    SERVICE: "see the service's log for why it is not renewed",
    AGENTS: "run `vmdkvol-agent doctor` on that machine; if it is over, enrol it again",
    API: "put a new one into the file; the next connection is shown it",
    ADMINISTRATORS: "put a new one into the file, and restart vmdkvol-web",
    VSPHERE: "put the authority's new certificate into the file, and restart the service",
}


@dataclass(frozen=True, slots=True)
class Expiry:
    """``not_after`` is when the certificate of this kind ends (UTC s); None: it cannot be read, which ``problem`` says.

    Of several it is the first one to end. ``of`` tells which one that is, if they are many.
    """

    kind: str
    not_after: float | None
    problem: str = ""
    of: str = ""


def finding(expiry: Expiry, now: float) -> Finding:
    """Return the line about a certificate."""
    check, fix = f"certificate of the {_NAMES[expiry.kind]}", _FIXES[expiry.kind]
    if expiry.not_after is None:
        return Finding(FAIL, check, expiry.problem, fix)
    left = expiry.not_after - now
    whose = f" ({expiry.of})" if expiry.of else ""
    if left <= 0:
        return Finding(FAIL, check, f"is over{whose}", fix)
    told = f"ends in {left / _DAY_S:.0f} days{whose}"
    soon = _LATE_S if expiry.kind in (SERVICE, AGENTS) else _SOON_S
    return Finding(OK, check, told) if left > soon else Finding(WARN, check, told, fix)
