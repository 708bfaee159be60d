"""When certificates end: each kind is told in time for what has to be done, and none that ends is taken for well."""

from __future__ import annotations

import pytest

from vmdkvol.findings import FAIL, OK, WARN
from vmdkvol_esx.expiry import ADMINISTRATORS, AGENTS, API, AUTHORITY, SERVICE, VSPHERE, Expiry, finding

DAY_S = 86400.0
NOW = 1_000_000.0
KINDS = (AUTHORITY, SERVICE, AGENTS, API, ADMINISTRATORS, VSPHERE)


@pytest.mark.parametrize(
    ("kind", "days", "status"),
    [
        *((kind, 31.0, OK) for kind in KINDS),
        *((kind, 29.0, WARN) for kind in (AUTHORITY, API, ADMINISTRATORS, VSPHERE)),
        # They are renewed by themselves at 30 days.
        *((kind, 29.0, OK) for kind in (SERVICE, AGENTS)),
        *((kind, 19.0, WARN) for kind in (SERVICE, AGENTS)),
        *((kind, 0.5, WARN) for kind in KINDS),
        *((kind, 0.0, FAIL) for kind in KINDS),
        *((kind, -100.0, FAIL) for kind in KINDS),
    ],
)
def test_a_certificate_is_told_in_time(kind: str, days: float, status: str) -> None:
    found = finding(Expiry(kind, NOW + days * DAY_S), NOW)
    assert found.status == status
    assert (found.fix != "") == (status != OK)


def test_one_that_cannot_be_read_is_a_failure_that_says_why() -> None:
    found = finding(Expiry(API, None, "/etc/x.pem cannot be read: No such file or directory"), NOW)
    assert (found.status, found.finding) == (FAIL, "/etc/x.pem cannot be read: No such file or directory")
    assert found.check == "certificate of the REST API"


def test_of_many_the_first_to_end_is_named() -> None:
    assert finding(Expiry(AGENTS, NOW + 10 * DAY_S, of="first of 12: docker7"), NOW).finding == (
        "ends in 10 days (first of 12: docker7)"
    )
