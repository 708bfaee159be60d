"""The commands, the paths and the settings that the page about monitoring names: each is there and does something."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.integration.api_site import ApiSite
from tests.integration.identity_site import ask
from tests.integration.typed_page import create, machine
from tests.reference import DOCS
from vmdkvol.cli.api_address import DEFAULT_PORT
from vmdkvol.messages import Attach, Detach
from vmdkvol.volume import VmId

pytestmark = pytest.mark.integration
PAGE = (DOCS / "how-to" / "monitoring.md").read_text(encoding="utf-8")
# What stands for a name of the reader's, by the words before it.
NAMES = {"datastore cordon": "ds1", "vmgroup inspect": "_DEFAULT", "volume ls --filter": "web1", "explain": "volume-in-use"}
COMMANDS = sorted(set(re.findall(r"`vmdkvol ([^`]+)`", PAGE)))
PATHS = sorted(set(re.findall(r"`(/[a-z0-9/]+)`", PAGE)))


@pytest.fixture(scope="module")
def site() -> Iterator[ApiSite]:
    with tempfile.TemporaryDirectory(prefix="vmdkvol-monitoring-") as folder:
        made = ApiSite(Path(folder), tls=False, hosts={"web1": VmId(UUID(int=0xA))}, datastores=("ds1",))
        web1 = machine(made, "web1")
        try:
            volume = create(web1, "db", size="100mb").id
            attachment = ask(web1, Attach(volume))
            try:
                yield made
            finally:
                # The loop device would outlive the service.
                ask(web1, Detach(volume, attachment.generation))
        finally:
            web1.close()
            made.close()


def typed(site: ApiSite, command: str) -> subprocess.CompletedProcess[str]:
    for words, name in NAMES.items():
        if command.startswith(words):
            command = re.sub(r"\b(NAME|CODE)\b", name, command)
    program = Path(sys.executable).parent / "vmdkvol"
    api = f"unix://{site.socket}"
    return subprocess.run(
        [program, *shlex.split(command)], env={"VMDKVOL_API": api}, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_page_names_commands_and_paths() -> None:
    assert len(COMMANDS) >= 6
    assert {"/metrics", "/livez", "/readyz", "/v1/health"} <= set(PATHS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_one(site: ApiSite, command: str) -> None:
    done = typed(site, command)
    assert (done.returncode, done.stderr.count("[")) == (0, 0), done.stderr


def test_a_machines_disks_are_found_as_the_page_says(site: ApiSite) -> None:
    (command,) = [each for each in COMMANDS if "--filter" in each]
    assert "db" in typed(site, command).stdout


@pytest.mark.parametrize("path", PATHS)
def test_each_path_answers(site: ApiSite, path: str) -> None:
    assert site.unix("GET", path).status == 200


def test_prometheus_asks_at_the_apis_port() -> None:
    assert re.findall(r"targets: \['[a-z.]+:(\d+)'\]", PAGE) == [str(DEFAULT_PORT)]


def test_prometheus_takes_the_settings(tmp_path: Path) -> None:
    (settings,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(settings, encoding="utf-8")
    done = subprocess.run(
        ["promtool", "check", "config", "--syntax-only", "prometheus.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
