"""Hosts that come by tcp: who they are is a certificate, got by a token; what an administrator, a copy, a backup do to that."""

from __future__ import annotations

import json
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons.enrolled import EnrolledSite
from tests.daemons.site import Host, eventually
from vmdkvol.addresses import TcpAddress
from vmdkvol.clock import SystemClock
from vmdkvol.errors import Busy, IdentityConflict
from vmdkvol.line import Line
from vmdkvol.tls import AgentSide

pytestmark = pytest.mark.integration
ID = "1" * 64


@pytest.fixture
def site() -> Iterator[EnrolledSite]:
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-site-"))
    site = EnrolledSite(root, ("a", "b"))
    yield site
    site.close()
    shutil.rmtree(root)


def made(host: Host, name: str) -> bool:
    return bool(host.call("Create", Name=name, Opts={"size": "8mb"})["Err"] == "")


def refusal(host: Host, name: str = "refused") -> str:
    return str(host.call("Create", Name=name, Opts={"size": "8mb"})["Err"])


def test_an_agent_without_identity_serves_docker_and_is_itself_as_soon_as_it_is_enrolled(site: EnrolledSite) -> None:
    site.start()
    host = site.host
    assert host.call("/Plugin.Activate") == {"Implements": ["VolumeDriver"]}
    assert re.search(r"no certificate.*vmdkvol vm enroll NAME.*\[not-enrolled\]", refusal(host))
    site.enrol(host)
    site.wait_connected(host)
    host.told("Create", Name="db", Opts={"size": "8mb"})
    host.told("Mount", Name="db", ID=ID)
    assert len(site.mounted()) == 1
    host.told("Unmount", Name="db", ID=ID)


def test_the_identity_is_roots_alone_and_the_token_is_in_no_log(site: EnrolledSite) -> None:
    site.start()
    token = site.token(site.host)
    done = site.agent(site.host, "enroll", "-", stdin=token + "\n")
    assert done.returncode == 0, done.stderr
    site.wait_connected(site.host)
    identity = site.identity(site.host)
    assert stat.S_IMODE(identity.stat().st_mode) == 0o700
    assert stat.S_IMODE((identity / "agent.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(site.admin_socket.stat().st_mode) == 0o600
    secret = token.split(".")[1]
    kept = [file for file in site.root.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]
    assert kept == []
    # The first line of the key itself: whoever has it in one line or in several has that.
    key = (identity / "agent.pem").read_bytes().split(b"-----")[2].split()[0]
    with_key = [file for file in site.root.rglob("*") if file.is_file() and key in file.read_bytes()]
    assert with_key == [identity / "agent.pem"]


def test_a_token_counts_once_and_its_second_use_is_an_alarm(site: EnrolledSite) -> None:
    site.service.start()
    token = site.token(site.host)
    assert site.agent(site.host, "enroll", token).returncode == 0
    again = site.agent(site.hosts[1], "enroll", token)
    assert again.returncode == 7
    assert "used already" in again.stderr
    assert "somebody else may have read it" in site.service.tail()
    assert not (site.identity(site.hosts[1]) / "agent.pem").exists()


def test_who_is_revoked_is_cut_off_at_once_and_comes_back_when_it_is_enrolled_again(site: EnrolledSite) -> None:
    site.start()
    site.enrol()
    for host in site.hosts:
        site.wait_connected(host)
    host = site.host
    host.told("Create", Name="db", Opts={"size": "8mb"})
    host.told("Mount", Name="db", ID=ID)
    asked = site.vmdkvol("vm", "revoke", host.name)
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    assert site.standing()[host.name]["standing"] == "enrolled"

    assert site.vmdkvol("vm", "revoke", host.name, "--yes").returncode == 0
    eventually(lambda: "revoked" in refusal(host), "the agent is told that it is revoked")
    row = site.standing()[host.name]
    assert (row["standing"], row["connected"]) == ("revoked", False)
    assert len(site.mounted()) == 1
    assert made(site.hosts[1], "others-go-on")
    lines = [json.loads(line) for line in host.agent.log.read_text().splitlines() if line.startswith("{")]
    # When it is closed and when it is refused, however often that has been since.
    assert sum(line["event"] == "line down" and "revoked" in line["error"] for line in lines) in (1, 2)

    site.enrol(host)
    site.wait_connected(host)
    host.patiently("Unmount", Name="db", ID=ID)
    host.told("Create", Name="db2", Opts={"size": "8mb"})


def test_identities_survive_a_kill_of_both_ends(site: EnrolledSite) -> None:
    site.start()
    site.enrol(site.host)
    site.wait_connected(site.host)
    site.service.kill()
    site.host.agent.kill()
    site.service.start()
    site.host.agent.start()
    site.wait_connected(site.host)
    site.host.told("Create", Name="db", Opts={"size": "8mb"})


def test_a_service_that_is_restored_from_a_backup_before_the_enrolment_knows_nobody_and_says_so(site: EnrolledSite) -> None:
    site.service.start()
    site.service.stop()
    backup = site.root / "backup"
    shutil.copytree(site.root / "state" / "service", backup)
    site.start()
    site.enrol(site.host)
    site.wait_connected(site.host)
    site.service.stop()
    shutil.rmtree(site.root / "state" / "service")
    shutil.copytree(backup, site.root / "state" / "service")
    site.service.start()
    eventually(lambda: "not on record" in refusal(site.host), "the agent is told to enrol again")
    site.enrol(site.host)
    site.wait_connected(site.host)
    site.service.stop()
    rebuilt = site.esxd("rebuild", "--yes")
    assert "1 machines stay enrolled" in rebuilt.stdout
    site.service.start()
    site.wait_connected(site.host)


def test_without_the_authoritys_key_who_is_enrolled_is_served_and_nobody_else_is_taken_in(site: EnrolledSite) -> None:
    site.start()
    site.enrol(site.host)
    site.wait_connected(site.host)
    site.service.stop()
    key = site.authority / "ca.key"
    key.rename(site.root / "ca.key")
    site.service.start()
    site.wait_connected(site.host)
    site.host.told("Create", Name="db", Opts={"size": "8mb"})
    refused = site.vmdkvol("vm", "enroll", "b")
    assert "ca.key is missing" in refused.stderr
    assert not key.exists()

    site.service.stop()
    (site.authority / "service.pem").unlink()
    lame = site.esxd("serve")
    assert lame.returncode != 0
    assert re.search(r"restore the service's state directory.*vmdkvol-esxd new-ca", lame.stderr + lame.stdout)

    (site.root / "ca.key").rename(key)
    site.service.start()
    site.wait_connected(site.host)


def test_a_new_authority_cuts_everybody_off_until_they_enrol_again(site: EnrolledSite) -> None:
    site.start()
    site.enrol(site.host)
    site.wait_connected(site.host)
    assert "another service has the state directory" in site.esxd("new-ca", "--yes").stderr
    site.service.stop()
    done = site.esxd("new-ca", "--yes")
    assert (done.returncode, "1 machines must enrol again" in done.stdout) == (0, True)
    site.service.start()
    eventually(lambda: "not this site's service" in refusal(site.host), "the agent does not trust the new authority by itself")
    site.enrol(site.host)
    site.wait_connected(site.host)


def test_a_copy_of_a_machine_is_refused_while_the_first_is_there_and_both_are_named(site: EnrolledSite) -> None:
    site.start()
    site.enrol(site.host)
    site.wait_connected(site.host)
    identity = site.identity(site.host)
    secure = AgentSide(identity / "agent.pem", identity / "ca.pem")
    copy = Line(TcpAddress("127.0.0.1", site.port), SystemClock(), agent="a copy", boot_id="another", secure=secure).start()
    try:
        eventually(lambda: isinstance(copy.trouble, Busy), "the copy waits while the first may be dead")
        eventually(lambda: isinstance(copy.trouble, IdentityConflict), "the copy is refused", 60.0)
        assert not copy.up
        site.host.told("Create", Name="db", Opts={"size": "8mb"})
        (alarm,) = [line for line in site.service.log.read_text().splitlines() if "two machines have one identity" in line]
        assert {"served", "refused"} <= json.loads(alarm).keys()
        site.host.agent.kill()
        eventually(lambda: copy.up, "the first is gone, and who has the key is this machine")
    finally:
        copy.close()
