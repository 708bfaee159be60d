"""What the agent's doctor makes of what it found: each trouble has a line that says what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vmdkvol.findings import FAIL, OK, WARN, Finding
from vmdkvol_guest import checkup
from vmdkvol_guest.checkup import Certificate, Disks, Vsock

DAY = 86400.0
NOW = 1_800_000_000.0
CERTIFICATE = Certificate("/agent.pem", 0, 0o600, NOW - DAY, NOW + 60 * DAY, "4208aaaa-0000-4000-8000-00000000000a", True)
DISKS = Disks(pvscsi=1, others=0, driver=True, named=2, silent=0)


def remedied(finding: Finding) -> bool:
    return (finding.status == OK) == (finding.fix == "")


@pytest.mark.parametrize(
    ("finding", "status", "said"),
    [
        (checkup.root(0), OK, "root"),
        (checkup.root(1000), FAIL, "uid 1000"),
        (checkup.python((3, 11, 2), []), OK, "3.11.2"),
        (checkup.python((3, 9, 18), []), FAIL, "3.9.18"),
        (checkup.python((3, 11, 2), ["flask", "pyudev"]), FAIL, "without flask, pyudev"),
        (checkup.driver("vsphere", "/run/docker/plugins/vsphere.sock"), OK, "vsphere"),
        (checkup.driver("vsphere", "/run/docker/plugins/other.sock"), FAIL, "does not find vsphere"),
        (checkup.driver("db", "/run/docker/plugins/vsphere-db.sock"), FAIL, "does not find db"),
        (checkup.tools("xfs", "xfsprogs", [], kernel=True), OK, "mkfs.xfs"),
        (checkup.tools("xfs", "xfsprogs", [], kernel=None), OK, "mkfs.xfs"),
        (checkup.tools("xfs", "xfsprogs", ["mkfs.xfs"], kernel=True), WARN, "no xfs volumes"),
        (checkup.tools("xfs", "xfsprogs", [], kernel=False), WARN, "this kernel has no xfs"),
        (checkup.tool("blkid", "util-linux", there=True, need="x"), OK, "there"),
        (checkup.tool("openssl", "openssl", there=False, need="no key can be made"), FAIL, "no key can be made"),
        (checkup.vsock(Vsock(there=False), needed=False), OK, "not used"),
        (checkup.vsock(Vsock(there=False), needed=True), FAIL, "no /dev/vsock"),
        (checkup.vsock(Vsock(True), needed=True), FAIL, "no host gives"),
        (checkup.vsock(Vsock(True, 12), needed=True), OK, "context id 12"),
        (checkup.engine("/var/lib/docker", ["/run/vmdkvol/vsphere/mnt"]), OK, "/var/lib/docker"),
        (checkup.engine("/run/vmdkvol/vsphere/mnt/4208/data/docker", ["/run/vmdkvol/vsphere/mnt"]), FAIL, "on a volume"),
        (checkup.engine("/run/vmdkvol/vsphere/mnt2", ["/run/vmdkvol/vsphere/mnt"]), OK, "mnt2"),
        (checkup.multipath({}), OK, "no disk is taken"),
        (checkup.multipath({"sdc": ["dm-1"], "sdb": ["dm-0 (mpatha)"]}), WARN, "sdb by dm-0 (mpatha), sdc by dm-1"),
        (checkup.no_certificate("/x/agent.pem"), FAIL, "not enrolled"),
    ],
    ids=lambda value: f"{value.check}-{value.status}" if isinstance(value, Finding) else "",
)
def test_a_line_has_a_remedy_unless_all_is_well(finding: Finding, status: str, said: str) -> None:
    assert finding.status == status
    assert said in finding.finding
    assert remedied(finding)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({}, OK, "1 controllers"),
        ({"pvscsi": 0}, WARN, "no PVSCSI controller"),
        ({"pvscsi": 0, "others": 1}, WARN, "no PVSCSI controller"),
        ({"pvscsi": 0, "driver": False}, FAIL, "no driver"),
    ],
)
def test_controllers(change: dict[str, Any], status: str, said: str) -> None:
    finding = checkup.controllers(replace(DISKS, **change), sandbox=False)
    assert finding.status == status
    assert said in finding.finding
    assert remedied(finding)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, OK),
        ({"named": 0, "silent": 3}, FAIL),
        # The first one that says its UUID shows that the machine has the parameter.
        ({"named": 1, "silent": 1}, OK),
        ({"named": 0}, WARN),
        ({"named": 0, "pvscsi": 0}, WARN),
    ],
)
def test_disks_that_say_nothing_are_told_before_the_first_volume(change: dict[str, Any], status: str) -> None:
    finding = checkup.enable_uuid(replace(DISKS, **change), sandbox=False)
    assert finding.status == status
    assert ("disk.EnableUUID = TRUE" in finding.fix) == (status != OK)


def test_a_sandbox_without_scsi_is_no_failure() -> None:
    none = Disks(pvscsi=0, others=0, driver=False, named=0, silent=0)
    assert checkup.controllers(none, sandbox=True).status == OK
    assert checkup.enable_uuid(none, sandbox=True).status == OK
    assert checkup.controllers(none, sandbox=False).status == FAIL


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({}, OK, "60 days more, of machine 4208aaaa"),
        ({"machine": None}, OK, "of machine unknown"),
        ({"ends": NOW + 20 * DAY}, WARN, "20 days"),
        ({"ends": NOW + 5 * 3600}, WARN, "5 hours"),
        ({"ends": NOW}, FAIL, "ran out 0 hours ago"),
        ({"ends": NOW - 3 * DAY}, FAIL, "ran out 3 days ago"),
        ({"begins": NOW + DAY}, FAIL, "clock is behind"),
        ({"mode": 0o640}, FAIL, "mode 0640"),
        ({"mode": 0o604}, FAIL, "mode 0604"),
        ({"owner": 1000}, FAIL, "uid 1000"),
        ({"signed": False}, FAIL, "not signed"),
    ],
)
def test_certificates(change: dict[str, Any], status: str, said: str) -> None:
    finding = checkup.certificate(replace(CERTIFICATE, **change), NOW)
    assert finding.status == status
    assert said in finding.finding
    assert remedied(finding)


@pytest.mark.parametrize(
    ("ahead_s", "within_s", "status", "said"),
    [
        (0.2, 0.5, OK, "the same"),
        (-4.0, 0.0, OK, "the same"),
        (60.0, 1.0, WARN, "60 s before"),
        (-60.0, 1.0, WARN, "60 s behind"),
        (2 * DAY, 1.0, FAIL, "before"),
        # It took half a minute to hear it, so the difference may be that.
        (30.0, 30.0, OK, "the same"),
        (None, 0.0, WARN, "does not tell"),
    ],
)
def test_clocks(ahead_s: float | None, within_s: float, status: str, said: str) -> None:
    finding = checkup.clock(ahead_s, within_s)
    assert finding.status == status
    assert said in finding.finding
    assert remedied(finding)
