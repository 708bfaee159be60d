"""What a certificate's file holds, read with the ``openssl`` program: the agent has no library for it."""

from __future__ import annotations

import calendar
import re
import time
from pathlib import Path

from vmdkvol.errors import MetadataDamaged
from vmdkvol_guest.checkup import Certificate
from vmdkvol_guest.linux.commands import Commands, Finished

_SECONDS = 10.0
_MACHINE = r"URI:urn:uuid:([0-9a-f-]{36})"


def read(commands: Commands, identity: Path, authority: Path) -> Certificate:
    """Return what the agent's certificate says, and whether the site's authority signed it.

    Raises MissingTool without openssl, MetadataDamaged for a file that holds no certificate, OSError for one that cannot
    be looked at.
    """
    found = identity.stat()
    shown = commands.run(
        ["openssl", "x509", "-in", str(identity), "-noout", "-startdate", "-enddate", "-ext", "subjectAltName"],
        seconds=_SECONDS,
    )
    machine = re.search(_MACHINE, shown.output)
    if shown.code != 0:
        raise MetadataDamaged(f"{identity} holds no certificate: {shown.last_line}", remedy="enrol this machine again")
    # Its times have a check of their own.
    signed = commands.run(["openssl", "verify", "-no_check_time", "-CAfile", str(authority), str(identity)], seconds=_SECONDS)
    return Certificate(
        path=str(identity),
        owner=found.st_uid,
        mode=found.st_mode & 0o7777,
        begins=_time(shown, "notBefore", identity),
        ends=_time(shown, "notAfter", identity),
        machine=machine[1] if machine else None,
        signed=signed.code == 0,
    )


def _time(shown: Finished, name: str, identity: Path) -> float:
    """Return a time in UTC seconds, from text such as ``notAfter=Feb 26 19:00:00 2027 GMT``."""
    said = re.search(rf"^{name}=(.+)$", shown.output, re.MULTILINE)
    try:
        return float(calendar.timegm(time.strptime(said[1] if said else "", "%b %d %H:%M:%S %Y GMT")))
    except ValueError:
        raise MetadataDamaged(f"{identity} has no {name} that can be read", remedy="enrol this machine again") from None
