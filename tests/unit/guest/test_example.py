"""The commented example of the agent's settings, and `vmdkvol-agent check-config`."""

from __future__ import annotations

import re
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vmdkvol.errors import BadRequest
from vmdkvol.settings import dump_value, read_settings
from vmdkvol_guest.cli import cli
from vmdkvol_guest.settings import AgentSettings

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "packaging" / "agent.toml"
SAID = dict(re.findall(r"^#?(\w+) = (.+)$", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    shutil.copyfile(EXAMPLE, path)
    path.chmod(0o644)
    return path


def test_the_example_is_right_as_it_is(config: Path) -> None:
    assert read_settings(AgentSettings, config) == AgentSettings(service="tcp://vmdkvol.example.com:1019")


# Without a default of its own: the example shows one that could be.
_NONE = {"service", "metrics"}


@pytest.mark.parametrize("setting", [field for field in fields(AgentSettings) if field.name not in _NONE], ids=lambda f: f.name)
def test_the_example_shows_what_holds_without_a_setting(setting: Any) -> None:
    assert SAID[setting.name] == dump_value(setting.default)


def test_the_example_has_no_setting_that_is_none() -> None:
    assert set(SAID) == {field.name for field in fields(AgentSettings)}


def test_every_line_of_the_example_can_be_switched_on(config: Path) -> None:
    text = re.sub(r"^#(\w+ = )", r"\1", config.read_text(encoding="utf-8"), flags=re.MULTILINE)
    config.write_text(text, encoding="utf-8")
    assert read_settings(AgentSettings, config).log_level == "info"


def test_check_config_says_where_docker_and_the_service_are(config: Path) -> None:
    done = CliRunner().invoke(cli, ["--config", str(config), "check-config"])
    assert done.exit_code == 0
    assert "driver vsphere at /run/docker/plugins/vsphere.sock" in done.output
    assert "service at tcp://vmdkvol.example.com:1019" in done.output


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('service = "tcp://"', "4: service: channel address 'tcp://' has no host"),
        ("linger_s = -1", "4: linger_s must be from 0.0 to 3600.0"),
        ("lingers = 1", "4: unknown setting 'lingers'"),
        ("linger_s = ", "4"),
    ],
)
def test_check_config_names_the_line(tmp_path: Path, wrong: str, said: str) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(f"# a\n# b\n\n{wrong}\n")
    config.chmod(0o600)
    done = CliRunner().invoke(cli, ["--config", str(config), "check-config"])
    assert isinstance(done.exception, BadRequest)
    assert f"agent.toml:{said}" in str(done.exception)


@pytest.mark.parametrize("page", ["how-to/install-vcenter.md", "reference/settings.md"])
def test_the_documents_name_the_example(page: str) -> None:
    assert "packaging/agent.toml" in (ROOT / "docs" / page).read_text(encoding="utf-8")
