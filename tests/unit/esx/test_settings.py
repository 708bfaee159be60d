"""The service's settings refuse what cannot work when they are made."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from vmdkvol.errors import BadRequest
from vmdkvol.names import DatastoreName
from vmdkvol.settings import dump_toml, read_settings
from vmdkvol.volume import VmId
from vmdkvol_esx.settings import DatastoreSetting, HostSetting, ServiceSettings, VsphereSetting
from vmdkvol_esx.web_setting import WebSetting

DS1 = DatastoreSetting(DatastoreName("ds1"), "/srv/ds1")
DS2 = DatastoreSetting(DatastoreName("ds2"), "/srv/ds2")
HOST = HostSetting("host-a", VmId(UUID(int=1)), "/run/a.sock")
OTHER = HostSetting("host-b", VmId(UUID(int=2)), "/run/b.sock")
GOOD = ServiceSettings("/var/lib/x", (DS1, DS2), hosts=(HOST, OTHER), default_datastore=DatastoreName("ds2"))


def test_written_settings_read_back(tmp_path: Path) -> None:
    path = tmp_path / "service.toml"
    path.touch(0o600)
    path.write_text(dump_toml(GOOD))
    assert read_settings(ServiceSettings, path) == GOOD


def test_the_only_datastore_is_the_default() -> None:
    assert ServiceSettings("/var/lib/x", (DS1,), hosts=(HOST,)).default == "ds1"


def test_the_default_datastore_is_the_named_one() -> None:
    assert GOOD.default == "ds2"


def test_the_database_lies_in_the_state_directory() -> None:
    assert replace(GOOD, state_dir="/var/lib/x/").database == "/var/lib/x/vmdkvol.db"


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"state_dir": "relative"}, "state_dir"),
        ({"state_dir": "/"}, "state_dir"),
        ({"datastores": ()}, "datastores"),
        ({"datastores": (DS1, replace(DS2, name=DatastoreName("ds1")))}, "datastores"),
        ({"datastores": (DS1, replace(DS2, path="/srv/ds1/"))}, "datastores"),
        ({"listen": ("udp://0.0.0.0",)}, "listen"),
        ({"listen": ("tcp://",)}, "listen"),
        ({"listen": ("tcp://0.0.0.0:99999",)}, "listen"),
        ({"listen": ("unix:///run/all.sock",)}, "listen"),
        ({"listen": ("tcp://0.0.0.0", "tcp://0.0.0.0")}, "listen"),
        ({"admin_socket": "admin.sock"}, "admin_socket"),
        ({"admin_socket": "/" + "x" * 107}, "admin_socket"),
        ({"admin_socket": HOST.socket}, "hosts"),
        ({"hosts": (HOST, replace(OTHER, name="host-a"))}, "hosts"),
        ({"hosts": (HOST, replace(OTHER, id=HOST.id))}, "hosts"),
        ({"hosts": (HOST, replace(OTHER, socket=HOST.socket))}, "hosts"),
        ({"default_datastore": None}, "datastores"),
        ({"default_datastore": "ds3"}, "default_datastore"),
        ({"trash_retention_s": -1.0}, "trash_retention_s"),
        ({"housekeeping_s": 0.0}, "housekeeping_s"),
        ({"drain_s": -1.0}, "drain_s"),
        ({"log_level": "loud"}, "log_level"),
    ],
    ids=str,
)
def test_a_value_that_cannot_work_is_refused_by_name(change: dict[str, Any], setting: str) -> None:
    with pytest.raises(BadRequest) as caught:
        replace(GOOD, **change)
    assert caught.value.fields["setting"] == setting


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"id": VmId(UUID(int=0))}, "id"),
        ({"socket": "a.sock"}, "socket"),
        ({"socket": "/" + "x" * 107}, "socket"),
    ],
    ids=str,
)
def test_a_host_that_cannot_work_is_refused(change: dict[str, Any], setting: str) -> None:
    with pytest.raises(BadRequest) as caught:
        replace(HOST, **change)
    assert caught.value.fields["setting"] == setting


@pytest.mark.parametrize("change", [{"name": "a/b"}, {"name": ""}, {"path": "srv"}, {"path": "/srv/../x"}], ids=str)
def test_a_datastore_that_cannot_work_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        replace(DS1, **change)
    assert caught.value.fields["setting"] == next(iter(change))


@pytest.mark.parametrize("kind", [ServiceSettings, DatastoreSetting, HostSetting, VsphereSetting, WebSetting])
def test_every_setting_has_its_line_of_help(kind: type[ServiceSettings]) -> None:
    assert all(each.metadata["help"].endswith(".") for each in fields(kind))


VSPHERE = VsphereSetting(
    "vc.example.com", "vmdkvol@vsphere.local", (DatastoreName("ds 1"), DatastoreName("ds2")), credential="pw"
)
ON_VSPHERE = ServiceSettings("/var/lib/x", hosts=(HOST,), default_datastore=DatastoreName("ds2"), vsphere=VSPHERE)


def test_written_settings_of_vsphere_read_back(tmp_path: Path) -> None:
    path = tmp_path / "service.toml"
    path.touch(0o600)
    path.write_text(dump_toml(ON_VSPHERE))
    assert read_settings(ServiceSettings, path) == ON_VSPHERE


def test_the_datastores_of_vsphere_are_the_datastores() -> None:
    assert ON_VSPHERE.datastore_names == ("ds 1", "ds2")
    assert ON_VSPHERE.default == "ds2"


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"datastores": (DS1,)}, "datastores"),
        ({"default_datastore": None}, "vsphere"),
        ({"default_datastore": "ds1"}, "default_datastore"),
        ({"copy_mib_s": 5.0}, "copy_mib_s"),
    ],
    ids=str,
)
def test_what_does_not_go_with_vsphere_is_refused_by_name(change: dict[str, Any], setting: str) -> None:
    with pytest.raises(BadRequest) as caught:
        replace(ON_VSPHERE, **change)
    assert caught.value.fields["setting"] == setting


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"host": "https://vc/sdk"}, "host"),
        ({"host": ""}, "host"),
        ({"port": 0}, "port"),
        ({"user": "a\nb"}, "user"),
        ({"datastores": ()}, "datastores"),
        ({"datastores": ("ds1", "ds1")}, "datastores"),
        ({"datastores": ("a/b",)}, "datastores"),
        ({"credential": None}, "user"),
        ({"password_file": "/etc/pw"}, "credential"),
        ({"credential": "a/b"}, "credential"),
        ({"credential": ".pw"}, "credential"),
        ({"credential": None, "password_file": "pw"}, "password_file"),
        ({"ca_file": "ca.pem"}, "ca_file"),
        ({"pin_file": "/etc/../pin.pem"}, "pin_file"),
    ],
    ids=str,
)
def test_a_setting_of_vsphere_that_cannot_work_is_refused(change: dict[str, Any], setting: str) -> None:
    with pytest.raises(BadRequest) as caught:
        replace(VSPHERE, **change)
    assert caught.value.fields["setting"] == setting


def test_hosts_are_optional_where_others_can_come_by_certificate() -> None:
    made = ServiceSettings("/var/lib/x", (DS1,), listen=("tcp://[::]:1019", "vsock://any:1019"))
    assert (made.hosts, made.sockets, made.authority) == ((), (), "/var/lib/x/ca")


def test_a_host_needs_no_socket_where_it_can_come_by_certificate() -> None:
    made = ServiceSettings("/var/lib/x", (DS1,), hosts=(HOST, replace(OTHER, socket=None)), listen=("tcp://127.0.0.1",))
    assert made.sockets == ("/run/a.sock",)


def test_what_is_removed_waits_for_three_days_unless_the_settings_say_otherwise() -> None:
    assert ServiceSettings("/state", (DatastoreSetting(DatastoreName("ds1"), "/ds1"),)).trash_retention_s == 3 * 86400
