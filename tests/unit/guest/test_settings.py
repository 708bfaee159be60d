"""The agent's settings refuse what cannot work when they are made, not at the first Mount."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from vmdkvol.errors import BadRequest
from vmdkvol.settings import dump_toml, read_settings
from vmdkvol_guest.settings import AgentSettings


def test_an_empty_file_is_a_working_agent(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.touch(0o600)
    assert read_settings(AgentSettings, path) == AgentSettings()


def test_written_settings_read_back(tmp_path: Path) -> None:
    settings = AgentSettings(driver="vsphere-b", socket="/tmp/vsphere-b.sock", linger_s=0.5, threads=8, slow_threads=4)
    path = tmp_path / "agent.toml"
    path.touch(0o600)
    path.write_text(dump_toml(settings))
    assert read_settings(AgentSettings, path) == settings


@pytest.mark.parametrize(
    "change",
    [
        {"driver": ""},
        {"driver": "a/b"},
        {"driver": "-d"},
        {"driver": "ü"},
        {"socket": "relative.sock"},
        {"socket": "/" + "x" * 107},
        {"service": "/run/x.sock"},
        {"service": "http://host:1019"},
        {"service": "tcp://"},
        {"service": "tcp://host:0"},
        {"service": "tcp://host:70000"},
        {"service": "tcp://fe80::1:1019"},
        {"service": "vsock://any:1019"},
        {"service": "vsock://4294967295:1019"},
        {"service": "vsock://2:0"},
        {"service": "vsock://two"},
        {"service": "unix:///run/../etc/x.sock"},
        {"service": "unix://relative"},
        {"service": "unix:///" + "x" * 107},
        {"run_dir": "run"},
        {"run_dir": "/"},
        {"run_dir": "/run/../etc"},
        {"state_dir": "/a\0b"},
        {"state_dir": "/run/vmdkvol/vsphere"},
        {"linger_s": -1.0},
        {"slow_limit_s": 120.0},
        {"short_limit_s": 60.0},
        {"get_limit_s": 0.0},
        {"reconcile_s": 0.0},
        {"threads": 1},
        {"slow_threads": 0},
        {"slow_threads": 256},
        {"threads": 100},
        {"log_level": "loud"},
    ],
    ids=str,
)
def test_a_value_that_cannot_work_is_refused_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        AgentSettings(**change)
    # Fewer threads than may wait for slow work: told at what the reader would lower.
    assert caught.value.fields["setting"] == ("slow_threads" if change == {"threads": 100} else next(iter(change)))


@pytest.mark.parametrize(
    "service",
    [
        "tcp://vmdkvol.example.com:1019",
        "tcp://vmdkvol.example.com",
        "tcp://192.0.2.7:1019",
        "tcp://[2001:db8::7]:1019",
        "vsock://2:1019",
        "vsock://host",
        "unix:///run/vmdkvol/service.sock",
    ],
)
def test_a_service_is_on_this_machine_on_its_host_or_on_the_network(service: str) -> None:
    assert AgentSettings(service=service).service == service


def test_a_service_that_cannot_be_called_says_what_to_write() -> None:
    with pytest.raises(BadRequest, match=r"vsock://2:1019"):
        AgentSettings(service="vsock://any:1019")


def test_the_longest_socket_path_is_taken() -> None:
    assert AgentSettings(socket="/" + "x" * 106).socket


def test_every_setting_has_its_line_of_help() -> None:
    assert all(each.metadata["help"].endswith(".") for each in fields(AgentSettings))
