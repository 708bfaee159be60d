"""One request is found by one mark in every place that tells of it: both daemons' logs, the API's, the audit, the tasks."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.daemons.site import Site, eventually
from tests.daemons.web_process import WebProcess
from vmdkvol.cli.main import cli
from vmdkvol.command import run
from vmdkvol.request_ids import mark

pytestmark = pytest.mark.integration


class Watched:
    """A site and the API in front of it; ``told`` runs ``vmdkvol`` in this process."""

    def __init__(self, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
        self.site = site
        self.web = WebProcess(site.service.config)
        self._capsys = capsys

    def told(self, *command: str) -> str:
        code = run(cli, "vmdkvol", [*command, "--api", self.web.address])
        out, err = self._capsys.readouterr()
        assert code == 0, err
        return str(out)

    def listed(self, *command: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.told(*command, "-o", "json"))
        return found

    def close(self) -> None:
        self.web.stop()
        self.site.close()


@pytest.fixture
def watched(capsys: pytest.CaptureFixture[str]) -> Iterator[Watched]:
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-site-"))
    site = Site(root)
    made = Watched(site, capsys)
    try:
        site.start()
        yield made
    finally:
        made.close()
        shutil.rmtree(root)


def line(log: Path, **wanted: str) -> Mapping[str, Any]:
    """Return the first line of a log that has these fields, as soon as it is written."""

    def found() -> list[dict[str, Any]]:
        lines = [json.loads(each) for each in log.read_text().splitlines() if each.startswith("{")]
        return [each for each in lines if all(each.get(name) == value for name, value in wanted.items())]

    eventually(lambda: bool(found()), f"{wanted} in {log}")
    return found()[0]


def test_what_docker_asked_has_one_mark_in_both_logs_in_the_audit_and_among_the_tasks(watched: Watched) -> None:
    host = watched.site.host
    host.told("Create", Name="db", Opts={"size": "8mb"})
    request = mark(UUID(line(host.agent.log, event="created")["request"]))

    [noted] = [each for each in watched.listed("audit", "ls", "--verb", "CreateDisk") if each["target"] == "db"]
    [task] = [each for each in watched.listed("task", "ls", "--all") if each["doing"] == "create"]
    seen = [line(watched.site.service.log, event="created")["call"], noted["request_id"], task["id"]]

    assert [mark(UUID(each)) for each in seen] == [request] * 3


def test_by_the_id_out_of_the_agent_s_log_the_audit_shows_that_request_and_no_other(watched: Watched) -> None:
    host = watched.site.host
    host.told("Create", Name="db", Opts={"size": "8mb"})
    host.told("Create", Name="other", Opts={"size": "8mb"})
    request = str(line(host.agent.log, event="created", name="db")["request"])

    assert {each["target"] for each in watched.listed("audit", "ls", "--request", request)} == {"db"}


def test_a_mount_of_docker_s_is_one_request_from_the_plugin_s_socket_to_the_disk(watched: Watched) -> None:
    host = watched.site.host
    host.told("Create", Name="db", Opts={"size": "8mb"})
    host.told("Mount", Name="db", ID="a" * 64)
    request = str(line(host.agent.log, event="mounted")["request"])

    noted = watched.listed("audit", "ls", "--request", request)

    assert [each["verb"] for each in noted] == ["AttachDisk"]
    assert mark(UUID(line(watched.site.service.log, event="attached")["call"])) == mark(UUID(request))


def test_an_order_has_one_mark_in_the_log_of_the_api_in_that_of_the_service_in_the_audit_and_among_the_tasks(
    watched: Watched,
) -> None:
    watched.told("volume", "create", "db", "-o", "size=8mb")
    [order] = watched.listed("audit", "ls", "--verb", "create-volume-for")
    request = order["request_id"]

    noted = watched.listed("audit", "ls", "--request", request)
    [task] = [each for each in watched.listed("task", "ls", "--all") if each["doing"] == "create"]
    api = watched.site.root / "web-service.log"
    seen = [line(api, event="order")["request"], line(watched.site.service.log, event="created")["call"], task["id"]]

    assert {each["verb"] for each in noted} == {"create-volume-for", "CreateDisk"}
    assert [mark(UUID(each)) for each in seen] == [mark(UUID(request))] * 3


def test_a_refused_order_is_found_in_the_log_of_the_api_by_the_id_that_it_was_told(
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    watched.told("volume", "create", "db", "-o", "size=16mb")
    assert run(cli, "vmdkvol", ["volume", "resize", "db", "8mb", "--api", watched.web.address]) != 0
    capsys.readouterr()
    [noted] = watched.listed("audit", "ls", "--verb", "resize-volume")

    refused = line(watched.site.root / "web-service.log", event="refused")

    assert (noted["result"], refused["request"]) == (refused["code"], noted["request_id"])
