"""vCenter is told by whose request it is asked: its ``operationID`` begins as the request in our logs and in the audit does."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.daemons.site import Daemon, Host, serves
from tests.daemons.web_process import WebProcess
from tests.vsphere.outside import outside
from tests.vsphere.simulators import Simulator
from tests.vsphere.test_service import Site
from vmdkvol.cli.main import cli
from vmdkvol.command import run
from vmdkvol.request_ids import mark
from vmdkvol.settings import dump_toml

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]


@pytest.fixture
def site(own: Callable[..., Simulator], tmp_path: Path) -> Site:
    simulator = own("vcenter", "-uuids")
    with outside(simulator) as client:
        host = str(client.machines()[0].config.instanceUuid)
    (tmp_path / "s").mkdir()
    return Site(simulator, tmp_path / "s", host)


@contextmanager
def docker_host(site: Site) -> Iterator[Host]:
    """Run the agent of the site's one host; what no disk's device is needed for can be asked of it."""
    plugin, config = site.folder / "p.sock", site.folder / "agent.toml"
    folders = {"run_dir": str(site.folder / "run"), "state_dir": str(site.folder / "agent")}
    settings = {"driver": "vsphere", "socket": str(plugin), "service": f"unix://{site.socket}", **folders}
    config.write_text(dump_toml(settings))
    agent = Daemon("agent", config, site.folder / "agent.log", lambda: serves(plugin))
    agent.start()
    try:
        yield Host("vsphere", agent, plugin, site.folder / "run")
    finally:
        agent.stop()


def events(log: Path, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(each) for each in log.read_text().splitlines() if each.startswith("{")]
    return [each for each in lines if each["event"] == event]


def test_a_volume_that_docker_made_and_removed_is_found_in_vcenter_by_the_agent_s_log(site: Site) -> None:
    with site.serving(), docker_host(site) as host:
        host.told("Create", Name="db", Opts={"size": "8mb"})
        host.told("Remove", Name="db")
        agent = host.agent.log

    asked = {event: mark(UUID(events(agent, event)[0]["request"])) for event in ("created", "removed")}
    for method, event in (("CreateVirtualDisk_Task", "created"), ("DeleteVirtualDisk_Task", "removed")):
        assert [mark(UUID(each)) for each in site.simulator.operations(method)] == [asked[event]]


def test_the_figures_have_each_method_that_vcenter_was_asked_for_and_what_a_machine_can_still_take(site: Site) -> None:
    with site.serving():
        site.create("db", size="8mb")
        web = WebProcess(site.config())
        try:
            text = read_metrics(web.address.removeprefix("unix://"))
        finally:
            web.stop()

    families = {each.name: each for each in text_string_to_metric_families(text)}
    calls = families["vmdkvol_vsphere_request_seconds"].samples
    counted = {(each.labels["method"], each.labels["result"]): each.value for each in calls if each.name.endswith("_count")}
    assert counted["CreateVirtualDisk_Task", "ok"] == 1.0
    assert {method for method, _ in counted} <= set(site.simulator.calls())
    [slots] = families["vmdkvol_vm_free_slots"].samples
    # One PVSCSI controller that its own disk sits on, and three that it could get.
    assert 45 <= slots.value < 260


def read_metrics(path: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30.0)
        connection.connect(path)
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        found = b""
        while piece := connection.recv(65536):
            found += piece
    head, _, body = found.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0], found
    return body.decode()


def test_each_task_of_one_request_has_an_operation_id_of_its_own(site: Site) -> None:
    with site.serving(), docker_host(site) as host:
        host.told("Create", Name="db", Opts={"size": "8mb"})
        host.told("Create", Name="other", Opts={"size": "8mb"})

    ids = site.simulator.operations("CreateVirtualDisk_Task")
    assert (len(ids), len(set(ids)), len({mark(UUID(each)) for each in ids})) == (2, 2, 2)


def test_an_order_s_disk_is_found_in_vcenter_by_the_audit(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with site.serving():
        web = WebProcess(site.config())
        try:
            made = run(cli, "vmdkvol", ["volume", "create", "db", "-o", "size=8mb", "--api", web.address])
            capsys.readouterr()
            run(cli, "vmdkvol", ["audit", "ls", "--verb", "create-volume-for", "-o", "json", "--api", web.address])
            [noted] = json.loads(capsys.readouterr().out)
        finally:
            web.stop()

    assert (made, noted["result"]) == (0, "done")
    assert [mark(UUID(each)) for each in site.simulator.operations("CreateVirtualDisk_Task")] == [
        mark(UUID(noted["request_id"]))
    ]
