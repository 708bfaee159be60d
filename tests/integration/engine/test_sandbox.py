"""The sandbox a newcomer keeps: up, status, down; whatever was killed, and as often as one likes."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests.integration.engine.bench import PLUGINS, Bench, Docker, bench, engine_for

pytestmark = [pytest.mark.integration, pytest.mark.engine]


@pytest.fixture(scope="module")
def machine_with_engine() -> Iterator[tuple[Bench, Docker]]:
    with bench("vsphere", "vsphere-b") as made:
        yield made, engine_for(made)
        made.vmdkvol("sandbox", "down", "--purge")
        # The test bench's own; what the sandbox made is gone.
        assert [entry.name for entry in made.sandbox.iterdir()] == ["agent.toml"]
        assert_nothing_runs(made)


@pytest.fixture
def site(machine_with_engine: tuple[Bench, Docker]) -> Bench:
    made, _ = machine_with_engine
    made.up()
    return made


@pytest.fixture
def docker(machine_with_engine: tuple[Bench, Docker]) -> Docker:
    return machine_with_engine[1]


def use(site: Bench, name: str = "db") -> None:
    """Create and mount a volume without an engine, as a container's start does."""
    site.host().told("Create", Name=name, Opts={"size": "20mb"})
    site.host().told("Mount", Name=name, ID="a" * 64)


def remove(site: Bench, name: str = "db") -> None:
    site.up()
    site.host().patiently("Unmount", Name=name, ID="a" * 64)
    site.host().patiently("Remove", Name=name)


def assert_nothing_runs(site: Bench) -> None:
    assert site.machine.processes(str(site.sandbox)) == []
    assert (site.mounts(), site.loops()) == ([], {})
    assert list(site.machine.path(PLUGINS).glob("*")) == []
    assert not site.machine.path("/run/vmdkvol").exists()
    assert list((site.sandbox / "run").glob("*")) == []


def test_status_says_what_runs_and_where(site: Bench) -> None:
    status = site.status()

    assert status["running"] is True
    assert {row["name"]: row["state"] for row in status["processes"]} == {
        "service": "running",
        "web": "running",
        "vsphere": "running",
        "vsphere-b": "running",
    }
    sockets = {row["name"]: row["socket"] for row in status["processes"]}
    assert sockets["vsphere"] == "/run/docker/plugins/vsphere.sock"
    assert sockets["web"] == f"{site.sandbox}/run/api/web.sock"
    assert [store["datastore"] for store in status["datastores"]] == ["ds1", "ds2"]
    assert "vsphere-b" in site.vmdkvol("sandbox", "status")


def test_up_again_changes_nothing(site: Bench) -> None:
    before = {row["name"]: row["pid"] for row in site.status()["processes"]}

    site.up()

    assert {row["name"]: row["pid"] for row in site.status()["processes"]} == before


def test_up_adds_a_datastore_and_keeps_volumes_and_identities(site: Bench) -> None:
    use(site)
    before = {row["name"]: row.get("vm") for row in site.status()["processes"]}

    site.up("--datastore", "ds3")

    after = site.status()
    assert [store["datastore"] for store in after["datastores"]] == ["ds1", "ds2", "ds3"]
    assert {row["name"]: row.get("vm") for row in after["processes"]} == before
    site.host().told("Create", Name="x@ds3", Opts={"size": "20mb"})
    assert site.volume("x@ds3")["datastore"] == "ds3"
    site.host().told("Remove", Name="x@ds3")
    remove(site)


def test_up_after_kill_9_of_everything(site: Bench) -> None:
    use(site)
    for name in ("service", "web", "vsphere", "vsphere-b"):
        site.kill9(name)
    assert {row["state"] for row in site.status()["processes"]} == {"stopped"}

    site.up()

    assert site.status()["running"] is True
    assert site.volume("db")["attached_to"] == "vsphere"
    remove(site)


@pytest.mark.parametrize("victims", [[], ["vsphere"], ["service"], ["web"], ["service", "web", "vsphere", "vsphere-b"]])
def test_down_leaves_nothing_after_any_kill_and_keeps_the_volumes(site: Bench, victims: list[str]) -> None:
    use(site)
    for victim in victims:
        site.kill9(victim)

    site.vmdkvol("sandbox", "down")

    assert_nothing_runs(site)
    site.vmdkvol("sandbox", "down")
    site.up()
    assert site.volumes() == ["db"]
    assert site.host().told("Mount", Name="db", ID="b" * 64)["Mountpoint"]
    site.host().told("Unmount", Name="db", ID="b" * 64)
    remove(site)


def test_a_killed_api_is_brought_up_again_and_nothing_else_is_touched(site: Bench) -> None:
    before = {row["name"]: row["pid"] for row in site.status()["processes"]}
    site.kill9("web")
    assert {row["name"]: row["state"] for row in site.status()["processes"]}["web"] == "stopped"

    site.up()

    after = {row["name"]: row["pid"] for row in site.status()["processes"]}
    assert after.pop("web") != before.pop("web")
    assert after == before


def test_down_after_a_master_was_killed_ends_its_worker_too(site: Bench) -> None:
    master = site.pids("vsphere")[0]
    site.machine.kill(master, signal.SIGKILL)

    site.vmdkvol("sandbox", "down")

    assert_nothing_runs(site)


def test_down_without_pid_files_finds_the_processes(site: Bench) -> None:
    for file in (site.sandbox / "pids").iterdir():
        file.unlink()
    assert site.status()["running"] is True

    site.vmdkvol("sandbox", "down")

    assert_nothing_runs(site)


def test_up_after_the_database_was_lost_starts_the_agents_and_says_how_to_rebuild(site: Bench) -> None:
    site.host().told("Create", Name="db", Opts={"size": "20mb"})
    site.vmdkvol("sandbox", "down")
    database = site.sandbox / "state" / "service" / "vmdkvol.db"
    database.rename(site.sandbox / "aside")

    said = site.vmdkvol("sandbox", "up", code=1)

    assert "run `vmdkvol-esxd rebuild`" in said
    assert "vmdkvol-esxd rebuild" in site.status()["problem"]
    assert "db" in site.host().names()
    site.vmdkvol("sandbox", "down")
    (site.sandbox / "aside").rename(database)
    remove(site)


def test_a_pid_file_of_another_process_ends_nobody_else(site: Bench) -> None:
    bystander = site.machine.spawn(["sleep", "1000"], site.machine.root / "sleep.log")
    (site.sandbox / "pids" / "vsphere.json").write_text(json.dumps({"pid": bystander, "started": 1}))

    site.vmdkvol("sandbox", "down")

    assert site.machine.alive(bystander)
    site.machine.kill(bystander)
    assert_nothing_runs(site)


def test_a_disk_that_a_container_uses_is_named_and_never_pulled(site: Bench, docker: Docker) -> None:
    docker.create("used", size="20mb")
    docker.start("user", "used")
    (device,) = site.loops()

    said = site.vmdkvol("sandbox", "down", code=5)

    assert device in said
    assert "/data" in said
    assert said.rstrip().endswith("[still-mounted]")
    assert docker.sh_in("user", "echo alive > /data/x; sync; cat /data/x") == "alive"
    assert "[still-mounted]" in site.vmdkvol("sandbox", "down", "--purge", code=5)
    assert site.files() != []
    docker.remove("user")
    docker.rm("used")


def test_a_disk_that_a_container_uses_is_not_pulled_after_kill_9_either(site: Bench, docker: Docker) -> None:
    docker.create("used", size="20mb")
    docker.start("user", "used")
    for name in ("service", "web", "vsphere", "vsphere-b"):
        site.kill9(name)

    site.vmdkvol("sandbox", "down", code=5)

    assert docker.sh_in("user", "echo alive > /data/x; sync; cat /data/x") == "alive"
    site.up()
    docker.remove("user")
    assert docker.sh("used", "cat /data/x") == "alive"
    docker.rm("used")


def test_a_second_agent_for_the_same_socket_is_refused(site: Bench) -> None:
    config = f"{site.sandbox}/etc/vsphere.toml"

    second = site.machine.run("python3", "-m", "vmdkvol_guest.cli", "--config", config, "serve", check=False, timeout_s=30)

    assert second.returncode == 5, second.stderr
    assert second.stderr.strip().splitlines()[-1].endswith("[conflict]")
    assert site.host().told("List")["Volumes"] == []


def test_another_sandbox_with_the_same_driver_is_refused(site: Bench) -> None:
    said = site.vmdkvol("sandbox", "up", "--dir", f"{site.machine.root}/other", code=5)

    assert "/run/docker/plugins/vsphere.sock" in said
    assert "--driver" in said
    assert not (site.machine.root / "other").exists() or not list((site.machine.root / "other").glob("etc/*"))


def test_a_second_sandbox_with_another_driver_runs_beside(site: Bench) -> None:
    other = f"{site.machine.root}/other"
    site.vmdkvol("sandbox", "up", "--dir", other, "--driver", "another")
    try:
        assert site.host("another").told("List")["Volumes"] == []
        assert site.status()["running"] is True
    finally:
        site.vmdkvol("sandbox", "down", "--dir", other, "--purge")
    assert not (site.machine.root / "other").exists()
    assert site.host().told("List")["Volumes"] == []


def test_purge_keeps_what_it_did_not_make(site: Bench) -> None:
    other = site.machine.root / "third"
    site.vmdkvol("sandbox", "up", "--dir", str(other), "--driver", "third")
    (other / "notes.txt").write_text("mine")

    site.vmdkvol("sandbox", "down", "--dir", str(other), "--purge")

    assert [entry.name for entry in other.iterdir()] == ["notes.txt"]


def test_where_nothing_is_down_and_status_say_so(site: Bench) -> None:
    nowhere = f"{site.machine.root}/nowhere"

    assert "no sandbox" in site.vmdkvol("sandbox", "down", "--dir", nowhere)
    assert "no sandbox" in site.vmdkvol("sandbox", "status", "--dir", nowhere)
    assert not (site.machine.root / "nowhere").exists()


@pytest.mark.parametrize("option", [("--driver", "a/b"), ("--driver", ""), ("--host", "service"), ("--datastore", "x/y")])
def test_a_wrong_name_is_refused_before_anything_is_made(site: Bench, option: tuple[str, str]) -> None:
    said = site.vmdkvol("sandbox", "up", "--dir", f"{site.machine.root}/bad", *option, code=2)

    assert "[invalid-name]" in said
    assert not (site.machine.root / "bad").exists()


@pytest.mark.parametrize("name", ["datastores", "etc", "logs", "pids", "run", "state"])
def test_a_directory_that_others_use_is_not_taken(site: Bench, name: str) -> None:
    """`down --purge` would remove what is in it."""
    other = site.machine.root / f"others-{name}"
    (other / name).mkdir(parents=True)
    (other / name / "mine").write_text("mine")

    said = site.vmdkvol("sandbox", "up", "--dir", str(other), "--driver", "another", code=5)

    assert f"{other}/{name} has files" in said
    assert [entry.name for entry in other.iterdir()] == [name]


def test_down_leaves_the_disks_of_a_sandbox_below_its_directory(site: Bench) -> None:
    outer = str(site.machine.root)
    site.vmdkvol("sandbox", "up", "--dir", outer, "--driver", "outer")
    use(site)
    before = site.loops()

    said = site.vmdkvol("sandbox", "down", "--dir", outer, "--purge")

    assert "is down" in said
    assert site.loops() == before != {}
    assert site.status()["loops"] != []
    remove(site)


def test_doctor_tells_what_is_wrong_and_how_to_put_it_right(site: Bench) -> None:
    site.kill9("service")
    site.kill9("vsphere-b")

    findings = json.loads(site.vmdkvol("doctor", "-o", "json", code=2))

    wrong = {finding["check"]: finding for finding in findings if finding["status"] != "OK"}
    assert set(wrong) == {"stale socket", "agent vsphere-b", "service for vsphere", "service for vsphere-b"}
    assert all(finding["fix"] for finding in wrong.values())


def test_doctor_warns_of_a_socket_where_nobody_listens(site: Bench) -> None:
    """Each `docker volume ls` waits 15 s for it (docker-facts 2.1)."""
    stale = f"{PLUGINS}/gone.sock"
    site.machine.run("python3", "-c", f"import socket; socket.socket(socket.AF_UNIX).bind({stale!r})")

    (warning,) = [found for found in json.loads(site.vmdkvol("doctor", "-o", "json", code=1)) if found["status"] != "OK"]

    assert warning["fix"].endswith(f"rm {stale}")
    site.machine.run("rm", stale)


def test_volume_ls_without_a_service_is_one_line_and_exit_6(site: Bench) -> None:
    site.kill9("service")

    said = site.vmdkvol("volume", "ls", code=6)

    assert said.count("\n") == 1
    assert said.rstrip().endswith("[service-unreachable]")


def test_inspect_of_an_unknown_volume_is_exit_4(site: Bench) -> None:
    assert site.vmdkvol("volume", "inspect", "nothing", code=4).rstrip().endswith("[volume-not-found]")


def test_inspect_shows_what_was_understood(site: Bench) -> None:
    use(site)

    assert "20mb = 20971520 bytes" in site.vmdkvol("volume", "inspect", "db")
    (shown,) = json.loads(site.vmdkvol("volume", "inspect", "db", "-o", "json"))
    assert shown["options"] == {"size": "20mb"}
    remove(site)
