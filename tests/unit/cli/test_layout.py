"""The sandbox's hosts are the same ones each time; what cannot be one is refused before anything is made."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from vmdkvol.cli.layout import Identity, Layout, SandboxHost, extended
from vmdkvol.cli.written import agent_config, service_config
from vmdkvol.errors import BadRequest, Busy, InvalidName, MetadataDamaged

HOST = SandboxHost("vsphere", "6f1c7f0e-5a55-4d5c-8d0b-0d8b9c3f3b11")


def test_the_first_time_there_is_one_host_and_two_datastores() -> None:
    identity = extended(None, [], [])

    assert [host.name for host in identity.hosts] == ["vsphere"]
    assert identity.datastores == ("ds1", "ds2")


def test_a_host_keeps_its_identity_when_others_are_added() -> None:
    identity = extended(Identity((HOST,), ("ds1",)), ["vsphere-b", "vsphere"], ["ds9"])

    assert identity.hosts[0] == HOST
    assert [host.name for host in identity.hosts] == ["vsphere", "vsphere-b"]
    assert identity.datastores == ("ds1", "ds9")


def test_two_hosts_have_two_identities() -> None:
    one, two = extended(None, ["a", "b"], []).hosts

    assert one.vm != two.vm


@pytest.mark.parametrize("name", ["", "a/b", "..", "-a", "a b", "é", "a" * 42, "service", "web", "a\n"])
def test_what_cannot_be_a_driver_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        extended(None, [name], [])


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\n"])
def test_what_cannot_be_a_datastore_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        extended(None, [], [name])


def test_the_identity_is_read_back_as_it_was_kept(tmp_path: Path) -> None:
    layout = Layout.at(tmp_path)
    layout.keep_identity(Identity((HOST,), ("ds1", "datastore (1)")))

    assert layout.identity() == Identity((HOST,), ("ds1", "datastore (1)"))


def test_a_page_and_a_trash_are_kept_when_a_host_is_added(tmp_path: Path) -> None:
    layout = Layout.at(tmp_path)
    layout.keep_identity(Identity((HOST,), ("ds1",), page_port=8443, trash=True))

    identity = extended(layout.identity(), ["vsphere-b"], [])

    assert (identity.page_port, identity.trash, len(identity.hosts)) == (8443, True, 2)


def test_an_identity_of_before_there_were_pages_has_none(tmp_path: Path) -> None:
    (tmp_path / "sandbox.json").write_text(f'{{"hosts": [{{"name": "vsphere", "vm": "{HOST.vm}"}}], "datastores": ["ds1"]}}')

    assert Layout.at(tmp_path).identity() == Identity((HOST,), ("ds1",))


def test_the_page_is_inside_tls_on_this_machine_alone(tmp_path: Path) -> None:
    layout = Layout.at(tmp_path)

    written = tomllib.loads(service_config(layout, Identity((HOST,), ("ds1",), page_port=8443, trash=True)))

    assert written["web"] == {
        "socket": str(layout.web_address.path),
        "listen": "127.0.0.1:8443",
        "certificate_file": str(layout.certificate),
    }
    assert written["trash_retention_s"] > 0
    assert "listen" not in tomllib.loads(service_config(layout, Identity((HOST,), ("ds1",))))["web"]


def test_where_nothing_was_brought_up_there_is_no_identity(tmp_path: Path) -> None:
    assert Layout.at(tmp_path / "nothing").identity() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"hosts": [{"name": "a"}]}', '{"hosts": [{"name": "a", "vm": "x"}]}'])
def test_a_damaged_identity_is_told_and_not_replaced(tmp_path: Path, text: str) -> None:
    layout = Layout.at(tmp_path)
    layout.identity_file.write_text(text)

    with pytest.raises(MetadataDamaged, match="cannot be read.*service.toml"):
        layout.identity()
    assert layout.identity_file.read_text() == text


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest):
        Layout.at(tmp_path / ("d" * 100)).service_address("vsphere")


def test_the_root_directory_is_no_sandbox() -> None:
    with pytest.raises(BadRequest):
        Layout.at(Path("/"))


def test_two_commands_at_once_do_not_meet(tmp_path: Path) -> None:
    layout = Layout.at(tmp_path)

    with layout.alone(), pytest.raises(Busy), layout.alone():
        pass


def test_after_a_command_the_next_one_may(tmp_path: Path) -> None:
    layout = Layout.at(tmp_path)
    with layout.alone():
        pass

    with layout.alone():
        pass


def test_without_a_file_of_the_users_the_agents_get_the_products_settings(tmp_path: Path) -> None:
    assert Layout.at(tmp_path).agent_settings() == {}


def test_the_users_settings_reach_every_agent_but_not_who_it_is(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('linger_s = 0.5\ndriver = "other"\n')

    config = tomllib.loads(agent_config(Layout.at(tmp_path), HOST))

    assert (config["linger_s"], config["driver"]) == (0.5, "vsphere")


def test_the_users_settings_reach_the_service_but_not_which_hosts_there_are(tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_text('copy_mib_s = 20.0\nstate_dir = "/elsewhere"\nhosts = []\n')

    config = tomllib.loads(service_config(Layout.at(tmp_path), Identity((HOST,), ("ds1",))))

    assert config["copy_mib_s"] == 20.0
    assert config["state_dir"].startswith(str(tmp_path))
    assert [host["name"] for host in config["hosts"]] == [HOST.name]


def test_of_a_demo_work_is_slow_a_stop_is_quick_and_its_machines_have_no_engine(tmp_path: Path) -> None:
    demo = Identity((HOST, SandboxHost("vsphere-shop", HOST.vm), SandboxHost("other", HOST.vm)), ("ds1",), demo=True)

    service = tomllib.loads(service_config(Layout.at(tmp_path), demo))

    assert (service["copy_mib_s"], service["drain_s"]) == (2.0, 1.0)
    assert [host["name"] for host in service["hosts"]] == [HOST.name, "vsphere-shop", "other"]
    assert [host.name for host in demo.engines] == [HOST.name, "other"]


def test_what_is_no_demo_has_an_engine_for_each_host_whatever_it_is_called() -> None:
    assert len(Identity((HOST, SandboxHost("vsphere-shop", HOST.vm)), ("ds1",)).engines) == 2


def test_the_users_settings_count_in_a_demo_too(tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_text("copy_mib_s = 20.0\n")

    assert tomllib.loads(service_config(Layout.at(tmp_path), Identity((HOST,), ("ds1",), demo=True)))["copy_mib_s"] == 20.0


def test_the_machines_of_a_demo_have_names_that_are_drivers_names_however_long_the_first_is(tmp_path: Path) -> None:
    first = SandboxHost("x" * 41, HOST.vm)

    names = Identity((first,), ()).demo_hosts

    assert [host.name for host in extended(Identity((first,), ()), names, []).hosts] == ["x" * 41, *names]


def test_the_users_settings_of_the_api_reach_it_but_not_where_its_socket_is(tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_text('[web]\nlisten = "127.0.0.1:1020"\nsocket = "/elsewhere"\n')

    web = tomllib.loads(service_config(Layout.at(tmp_path), Identity((HOST,), ("ds1",))))["web"]

    assert web == {"listen": "127.0.0.1:1020", "socket": str(Layout.at(tmp_path).web_address.path)}


@pytest.mark.parametrize("text", [b"linger_s =", b"linger_s = 1\nlinger_s = 2", b"\xff"])
def test_a_file_of_the_users_that_is_no_toml_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "agent.toml").write_bytes(text)

    with pytest.raises(BadRequest, match="agent.toml cannot be read"):
        Layout.at(tmp_path).agent_settings()
