"""What a doctor says: a line for each thing, with what to do about it. Pure.

OK is said only of what was seen to be right; what could not be looked at is a line that says so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from vmdkvol.errors import ServiceUnreachable, VolumeError

OK, WARN, FAIL = "OK", "WARN", "FAIL"
COLUMNS = ("status", "check", "finding", "fix")
_AT_THE_SERVICE = "at the service: `systemctl status vmdkvol-esxd`, its log, and `vmdkvol-esxd doctor`"
_EXIT = {OK: 0, WARN: 1, FAIL: 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``fix`` is empty when all is well."""

    status: str
    check: str
    finding: str
    fix: str = ""


def exit_code(findings: Collection[Finding]) -> int:
    """Return 0, 1 or 2 by the worst line; 2 for a report of nothing."""
    return max((_EXIT[each.status] for each in findings), default=2)


def of_error(check: str, error: VolumeError) -> Finding:
    """Return the line of a check that could not be made."""
    # Whoever reads this has run a doctor: the remedy of others, to run one, would lead them round in a circle.
    circular = isinstance(error, ServiceUnreachable) and error.remedy == ServiceUnreachable.remedy
    return Finding(FAIL, check, error.text, _AT_THE_SERVICE if circular else error.remedy)


def of_access(check: str, error: OSError) -> Finding:
    """Return the line of something that cannot be looked at, which is no good sign."""
    found = f"{error.filename or 'something'} cannot be looked at: {error.strerror or error}"
    return Finding(FAIL, check, found, "run it as root" if isinstance(error, PermissionError) else "")
