"""What `doctor` makes of the API's certificate: does a client get a connection with it, and for how long. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from vmdkvol.errors import one_line
from vmdkvol.findings import FAIL, OK, WARN, Finding

CHECK = "API certificate"
# A certificate is renewed in time, or nobody comes in on that day.
EXPIRES_DAYS = 30
_DAY_S = 86400
_SHOWN = 10
_RENEW = "put a new one into its place: connections from then on have it, without a restart"


@dataclass(frozen=True, slots=True)
class Kept:
    """The certificate and the key as they lie there. ``names``: for whom; ``starts``, ``ends``: UTC seconds.

    ``key_open``: others than its owner may read the key.
    """

    names: tuple[str, ...]
    starts: float
    ends: float
    key_fits: bool
    key_open: bool


def judge(certificate: str, key: str, seen: Kept, now: float) -> Finding:
    """Return the finding of what lies at these paths; the worst first."""
    days = (seen.ends - now) / _DAY_S
    names = ", ".join(seen.names[:_SHOWN]) + (f" and {len(seen.names) - _SHOWN} more" if len(seen.names) > _SHOWN else "")
    found = one_line(f"{certificate}: for {names or 'no name'}, {days:.0f} days more", 200)
    if not seen.key_fits:
        return Finding(
            FAIL, CHECK, f"the key in {key} is not that of {certificate}", "set key_file to the key that it was made with"
        )
    if seen.starts > now:
        found = f"{certificate} begins to count in {(seen.starts - now) / _DAY_S:.1f} days"
        return Finding(FAIL, CHECK, found, "look at this machine's clock, or wait")
    if days <= 0:
        return Finding(FAIL, CHECK, f"{certificate} ended {-days:.0f} days ago", _RENEW)
    if seen.key_open:
        # The API does not start with it.
        return Finding(FAIL, CHECK, f"{found}; others than its owner may read the key {key}", f"chmod 600 {key}")
    if not seen.names:
        return Finding(WARN, CHECK, found, "make one with subjectAltName: clients do not look at its common name")
    return Finding(OK if days > EXPIRES_DAYS else WARN, CHECK, found, "" if days > EXPIRES_DAYS else _RENEW)
