"""An administrator's commands about storage policies: the service and its API as processes, on a simulated vCenter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.daemons.web_process import WebProcess
from tests.vsphere.outside import outside
from tests.vsphere.simulators import Model, Simulator
from tests.vsphere.test_compliance import ASKING, VVOL
from tests.vsphere.test_service import VSAN, Site
from vmdkvol.messages import Attach, Detach, Mark
from vmdkvol.volume import Attachment, Content, VolumeId

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]


@dataclass
class Desk:
    """``says`` is what a command printed, to both of its outputs."""

    site: Site
    web: WebProcess

    def command(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VMDKVOL_API": self.web.address,
            "COLUMNS": "200",
        }
        done = subprocess.run(["vmdkvol", *words], env=environment, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
        return done

    def says(self, *words: str, code: int = 0) -> str:
        done = self.command(*words, code=code)
        return " ".join((done.stdout + done.stderr).split())

    def rows(self, *words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.command(*words, "-o", "json").stdout)
        return found

    def stands(self, policy: str) -> tuple[str, str | None, str]:
        """How the one volume under the policy stands, what its disk is under, and why."""
        (row,) = self.rows("policy", "volumes", policy)
        return row["compliance"], row["follows"], row["reason"]

    def volume(self, name: str) -> dict[str, Any]:
        (row,) = self.rows("volume", "inspect", name)
        return row

    def mounted(self, volume: VolumeId) -> Attachment:
        """As an agent does it the first time."""
        attachment = self.site.ask(Attach(volume))
        uuid = uuid4()
        for content in (Content.FORMATTING, Content.FORMATTED):
            self.site.ask(Mark(volume, attachment.generation, content, uuid))
        return attachment


@pytest.fixture
def desk(own: Callable[..., Simulator], request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    model: Model = request.param
    simulator = own(model, "-strict", "-uuids")
    with outside(simulator) as client:
        host = str(client.machines()[0].config.instanceUuid)
    folder = tmp_path / "service"
    folder.mkdir()
    site = Site(simulator, folder, host)
    with site.serving():
        web = WebProcess(folder / "service.toml")
        try:
            yield Desk(site, web)
        finally:
            web.stop()


def on(model: Model) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("desk", [model], indirect=True)


@on("vcenter")
def test_a_policy_is_followed_from_the_create_to_another_one(desk: Desk) -> None:
    info = desk.site.create("db", size="8mb", policy=VSAN)
    listed = {row["name"]: row for row in desk.rows("policy", "ls")}
    assert (listed[VSAN]["kind"], listed[VSAN]["volumes"], listed[VSAN]["unknown"]) == ("spbm", 1, 1)
    assert "no machine has the disk" in desk.stands(VSAN)[2]

    desk.mounted(info.id)
    assert desk.stands(VSAN) == ("compliant", VSAN, "")

    assert f"ChangePolicy db {VSAN} {VVOL}" in desk.says("policy", "apply", VVOL, "db", "--dry-run")
    assert desk.says("policy", "apply", VVOL, "db") == f"volume db is under policy {VVOL}"
    assert desk.stands(VVOL) == ("compliant", VVOL, "")
    assert desk.rows("policy", "volumes", VSAN) == []

    assert desk.says("policy", "unset", "db") == "volume db is under its datastore's own policy"
    assert (desk.volume("db")["policy"], desk.volume("db")["trouble"]) == (None, [])


@on("vcenter")
def test_a_volume_that_no_machine_has_says_that_its_policy_is_pending_until_one_gets_it(desk: Desk) -> None:
    info = desk.site.create("db", size="8mb", policy=VSAN)
    desk.site.ask(Detach(info.id, desk.mounted(info.id).generation))

    assert f"AwaitAttach db {VSAN} {VVOL}" in desk.says("policy", "apply", VVOL, "db", "--dry-run")
    assert desk.says("policy", "apply", VVOL, "db") == f"volume db is under policy {VVOL} from its next attach on"
    waiting = desk.volume("db")
    assert (waiting["policy"], waiting["policy_pending"]) == (VVOL, True)
    assert waiting["trouble"] == [f"policy {VVOL} is laid on when a machine gets the disk"]
    assert desk.stands(VVOL)[0] == "unknown"

    desk.site.ask(Attach(info.id))

    after = desk.volume("db")
    assert (after["policy_pending"], after["trouble"], desk.stands(VVOL)) == (False, [], ("compliant", VVOL, ""))


@on("vcenter")
def test_what_vcenter_finds_wrong_is_told_to_the_administrator(desk: Desk) -> None:
    info = desk.site.create("db", size="8mb", policy=VSAN)
    desk.mounted(info.id)
    with outside(desk.site.simulator) as client:
        machine = client.machines()[0]
        [path] = [each.backing.fileName for each in machine.config.hardware.device if "] vmdkvol/" in str(each.backing)]
        desk.site.simulator.policy(machine._moId, path, "stand", "nonCompliant")

    assert desk.stands(VSAN)[0] == "not-compliant"
    assert "hostFailuresToTolerate" in desk.says("policy", "volumes", VSAN)
    assert "1 not-compliant" in desk.says("policy", "ls")


@on("vcenter")
def test_vcenters_policies_are_not_removed_here_and_one_that_is_used_is_told_with_its_users(desk: Desk) -> None:
    desk.site.create("db", size="8mb", policy=VSAN)

    assert "are vCenter's" in desk.says("policy", "rm", VSAN, code=2)
    assert "there is no storage policy 'gold'" in desk.says("policy", "apply", "gold", "db", code=4)
    (row,) = desk.rows("policy", "inspect", VSAN)
    assert (row["volumes"], row["kind"]) == (1, "spbm")


@on("vcenter")
def test_no_list_fails_because_the_policy_service_does(desk: Desk) -> None:
    info = desk.site.create("db", size="8mb", policy=VSAN)
    desk.mounted(info.id)
    for method in ("PbmRetrieveServiceContent", *ASKING):
        desk.site.simulator.next(method, "soap", fault="SystemError", times=99)

    compliance, _, reason = desk.stands(VSAN)
    assert (compliance, "vCenter does not tell it now" in reason) == ("unknown", True)
    assert VSAN in {row["name"] for row in desk.rows("policy", "ls")}
    assert [row["name"] for row in desk.rows("volume", "ls")] == ["db"]
    assert desk.volume("db")["policy"] == VSAN


@on("vcenter")
def test_a_silent_policy_service_takes_no_list_longer_than_an_answer_may_take(desk: Desk) -> None:
    info = desk.site.create("db", size="8mb", policy=VSAN)
    desk.mounted(info.id)
    desk.site.simulator.next("PbmRetrieveServiceContent", "wait", ms=60000, times=99)

    (row,) = [row for row in desk.rows("policy", "ls") if row["name"] == VSAN]
    assert (row["kind"], row["unknown"]) in {("unread", 1), ("spbm", 1)}
    assert desk.stands(VSAN)[0] == "unknown"


@on("vcenter")
def test_a_volume_is_mounted_though_the_policy_service_fails_and_its_policy_stays_pending(desk: Desk) -> None:
    info = desk.site.create("db", size="8mb", policy=VSAN)
    desk.site.ask(Detach(info.id, desk.mounted(info.id).generation))
    desk.says("policy", "apply", VVOL, "db")
    for method in ASKING:
        desk.site.simulator.next(method, "soap", fault="SystemError", times=99)

    desk.site.ask(Attach(info.id))

    told = desk.volume("db")
    assert (told["policy_pending"], "`vmdkvol policy apply" in told["trouble"][0]) == (True, True)
    desk.site.simulator.clear()


@on("vcenter")
def test_no_container_waits_to_be_told_that_its_policy_was_laid_on(desk: Desk) -> None:
    info = desk.site.create("db", size="8mb", policy=VSAN)
    desk.site.ask(Detach(info.id, desk.mounted(info.id).generation))
    desk.says("policy", "apply", VVOL, "db")
    for method in ASKING:
        desk.site.simulator.next(method, "wait", ms=20000, times=99)

    begun = time.monotonic()
    desk.site.ask(Attach(info.id))

    assert time.monotonic() - begun < 15
    desk.site.simulator.clear()
    assert desk.volume("db")["policy_pending"] is False


@on("esxi")
def test_a_single_host_says_that_it_has_none(desk: Desk) -> None:
    desk.site.create("db", size="8mb")

    assert desk.rows("policy", "ls") == []
    assert "there is no storage policy" in desk.says("policy", "apply", VSAN, "db", code=4)
    assert "a single ESXi host has no storage policies" in desk.says("policy", "unset", "db", code=2)
