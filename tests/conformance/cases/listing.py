"""What `docker volume ls` and `inspect` show."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from tests.conformance.case import Group, Need
from tests.conformance.world import World
from tests.integration.engine.engine import IMAGE

LISTING = Group("list")
# vDVS's Status keys (vdvs-facts), and ours.
STATUS = {"access", "attach-as", "capacity", "clone-from", "created", "created by VM", "datastore", "diskformat", "fstype"}
STATUS |= {"status", "id", "size-bytes", "holders", "state"}


@LISTING.case(1, "`volume ls` shows each volume once, with its driver.", quick=True)
def each_once(w: World) -> None:
    names = [w.create() for _ in range(5)]
    shown = w.said("volume", "ls", "--format", "{{.Driver}} {{.Name}}").splitlines()
    assert sorted(shown) == sorted(f"{w.driver} {name}" for name in names)


@LISTING.case(2, "The filters name, driver and dangling.", quick=True)
def filters(w: World) -> None:
    used, free = w.create("used1"), w.create("free1")
    w.said("create", "--name", "holder", "--network", "none", "-v", f"{used}:/x", IMAGE, "true")

    def ls(*filters: str) -> list[str]:
        words = [word for each in filters for word in ("--filter", each)]
        return sorted(w.said("volume", "ls", "-q", *words).splitlines())

    assert ls(f"driver={w.driver}") == [free, used]
    assert ls("name=free") == [free]
    assert ls("driver=local") == []
    assert ls("dangling=true") == [free]
    assert ls("dangling=false") == [used]


@LISTING.case(3, "Labels are kept, shown and filtered by, also after a container used the volume.", quick=True)
def labels(w: World) -> None:
    name = w.create(None, "--label", "keep=me", "--label", "other")
    w.create()
    w.sh(name, "true")
    assert w.inspect(name)["Labels"] == {"keep": "me", "other": ""}
    assert w.said("volume", "ls", "-q", "--filter", "label=keep=me") == name
    assert w.said("volume", "ls", "-q", "--filter", "label=keep=not") == ""


@LISTING.case(4, "`inspect` shows driver, mount point, scope, options and a creation time of now.", quick=True)
def inspect(w: World) -> None:
    name = w.create()
    volume = w.inspect(name)
    assert (volume["Name"], volume["Driver"]) == (name, w.driver)
    assert volume["Scope"] in ("local", "global")
    assert (volume["Options"] or {}) == dict(w.options)
    made = datetime.fromisoformat(volume["CreatedAt"].replace("Z", "+00:00"))
    assert abs(datetime.now(UTC) - made) < timedelta(hours=1), "the engine understood another time"


@LISTING.case(5, "`inspect` of a container names volume and driver; the volume's mount point holds what it wrote.")
def mountpoint(w: World) -> None:
    name = w.create()
    w.container("user", "-v", f"{name}:/data")
    w.inside("user", "echo y > /data/note; sync")
    # Source is empty there for any plugin's volume: engines fill it in for their own driver only.
    (mount,) = json.loads(w.said("inspect", "-f", "{{json .Mounts}}", "user"))
    assert (mount["Name"], mount["Driver"], mount["RW"]) == (name, w.driver, True)
    assert w.read(w.inspect(name)["Mountpoint"]) == "y\n"


@LISTING.case(6, "`volume ls` never fails and never shows half a volume while volumes come and go.")
def while_they_come_and_go(w: World) -> None:
    def come_and_go(number: int) -> None:
        w.said("volume", "rm", w.create(f"goes{number}"))

    stays = w.create("stays")
    with ThreadPoolExecutor(4) as pool:
        going = [pool.submit(come_and_go, number) for number in range(8)]
        while not all(work.done() for work in going):
            shown = w.said("volume", "ls", "--format", "{{.Driver}} {{.Name}}").splitlines()
            assert f"{w.driver} {stays}" in shown
            assert all(line.split(" ")[1].startswith(("goes", "stays")) for line in shown), shown
        for work in going:
            work.result()
    assert w.volumes() == [stays]


@LISTING.case(7, "`system df -v` and `info` work and name the driver.")
def system(w: World) -> None:
    w.create()
    assert w.driver in w.said("info", "-f", "{{json .Plugins.Volume}}")
    assert w.engine.docker("system", "df", "-v").returncode == 0


@LISTING.case(8, "A volume that was made elsewhere is shown, and can be used by its name alone.", quick=True)
def made_elsewhere(w: World) -> None:
    name = w.make()
    assert w.volumes() == [name]
    assert w.sh(name, "echo y > /data/note; cat /data/note") == "y"
    assert w.inspect(name)["Driver"] == w.driver


@LISTING.case(9, "A volume that was removed elsewhere is not shown, and can be made again.")
def removed_elsewhere(w: World) -> None:
    name = w.create()
    w.told("Remove", Name=name)
    assert w.volumes() == []
    w.create(name)
    assert w.volumes() == [name]


@LISTING.case(10, "A hundred volumes are listed, each once.")
def hundred(w: World) -> None:
    names = [f"h{number:03}" for number in range(100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(w.make, names))
    assert sorted(w.volumes()) == names
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: w.told("Remove", Name=name), names))
    assert w.volumes() == []


@LISTING.case(11, "Status has every key of the old driver and of this one, and says the size in bytes.", Need.DISKS)
def status(w: World) -> None:
    volume = w.inspect(w.docker.create("db", size="100mb"))
    assert STATUS - volume["Status"].keys() == set()
    assert volume["Status"]["size-bytes"] == 104857600
    assert volume["Scope"] == "global"
    assert volume["Mountpoint"].startswith("/run/vmdkvol/vsphere/mnt/")
