"""Create comes twice, eight times at once, with other options, and as a part of `docker run`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.conformance.case import Group, Need
from tests.conformance.world import World
from tests.integration.engine.engine import IMAGE

CREATING = Group("create")
RUN = ("run", "--rm", "--network", "none")


@CREATING.case(1, "A new volume is an empty directory for a container.", quick=True)
def new_and_empty(w: World) -> None:
    # initdb refuses a directory with lost+found in it (docker-facts 2.9).
    assert w.sh(w.create(), "ls -A /data | wc -l") == "0"


@CREATING.case(2, "The same `volume create` again succeeds and keeps the data.", quick=True)
def twice(w: World) -> None:
    name = w.create()
    w.sh(name, "echo kept > /data/note")
    assert w.create(name) == name
    assert w.sh(name, "cat /data/note") == "kept"
    assert w.listed() == [name]


@CREATING.case(3, "Create that comes again at the socket succeeds and keeps the data.")
def again_at_the_socket(w: World) -> None:
    """An engine that was told "absent" once creates what exists (docker-facts 2.6)."""
    name = w.make()
    w.write(w.mount(name), "kept")
    w.told("Create", Name=name, Opts=dict(w.options))
    w.unmount(name)
    w.told("Create", Name=name, Opts=dict(w.options))
    assert w.read(w.mount(name)) == "kept"
    w.unmount(name)


@CREATING.case(4, "Create of a known name with other options never touches what is there.")
def other_options(w: World) -> None:
    name = w.make()
    w.write(w.mount(name), "kept")
    w.unmount(name)
    w.call("Create", Name=name, Opts={**w.options, "size": "7gb", "unheard": "of"})
    w.call("Create", Name=name, Opts={})
    assert w.listed() == [name]
    assert w.read(w.mount(name)) == "kept"
    w.unmount(name)


@CREATING.case(5, "Eight creates of one name at once make one volume.")
def one_name_at_once(w: World) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: w.call("Create", Name="one", Opts=dict(w.options)), range(8)))
    assert [answer.error for answer in answers] == [""] * 8
    assert w.listed() == ["one"]


@CREATING.case(6, "Sixteen creates of different names at once all succeed.")
def many_at_once(w: World) -> None:
    names = [f"many{number:02}" for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda name: w.call("Create", Name=name, Opts=dict(w.options)), names))
    assert [answer.error for answer in answers] == [""] * 16
    assert w.listed() == names


@CREATING.case(7, "`docker run` creates the volume that it names.", quick=True)
def implied(w: World) -> None:
    w.said(*RUN, "--volume-driver", w.driver, "-v", "new:/x", IMAGE, "sh", "-c", "echo kept > /x/note")
    assert w.sh("new", "cat /data/note") == "kept"


@CREATING.case(8, "`--mount` with volume-driver and volume-opt creates the volume; a second container finds it.", quick=True)
def by_mount(w: World) -> None:
    options = "".join(f",volume-opt={key}={value}" for key, value in w.options.items())
    mount = ("--mount", f"type=volume,source=m,target=/x,volume-driver={w.driver}{options}")
    w.said(*RUN, *mount, IMAGE, "sh", "-c", "echo kept > /x/note")
    assert w.said(*RUN, *mount, IMAGE, "cat", "/x/note") == "kept"


@CREATING.case(9, "The options of a mount are those of the volume.", Need.DISKS, quick=True)
def options_of_a_mount(w: World) -> None:
    mount = f"type=volume,source=m,target=/x,volume-driver={w.driver},volume-opt=size=64mb,volume-opt=mode=0700"
    assert w.said(*RUN, "--mount", mount, IMAGE, "stat", "-c", "%a", "/x") == "700"
    assert w.ours.volume("m")["size_bytes"] == 64 << 20


@CREATING.case(10, "A mount with a wrong option starts no container and makes no volume.", Need.DISKS)
def wrong_option_of_a_mount(w: World) -> None:
    mount = f"type=volume,source=m,target=/x,volume-driver={w.driver},volume-opt=size=64"
    assert "[invalid-size]" in w.engine.refused(*RUN, "--mount", mount, IMAGE, "true")
    assert w.listed() == []


@CREATING.case(11, "A wrong option is refused in one line with a code, and leaves nothing.", Need.DISKS)
def wrong_options(w: World) -> None:
    for options, code in (
        ({"size": "abc"}, "invalid-size"),
        ({"size": "1gb,fstype=xfs"}, "invalid-size"),
        ({"sise": "1gb"}, "invalid-option"),
        ({"fstype": "btrfs"}, "invalid-option"),
        ({"datastore": "nowhere"}, "datastore-not-found"),
        ({"clone_from": "nothing"}, "volume-not-found"),
        ({"uid": "www"}, "invalid-option"),
    ):
        said = w.docker.refuses_to_create("bad", **options)
        assert f"[{code}]" in said, said
        assert len(said.strip().splitlines()) == 1, said
    assert w.ours.files() == []


@CREATING.case(12, "The name of a refused create is free.", Need.DISKS)
def name_of_a_refused_create(w: World) -> None:
    """Field case C02."""
    w.docker.refuses_to_create("free", size="1kb")
    assert w.listed() == []
    w.create("free")


@CREATING.case(13, "A known name with other options is a conflict that says what differs.", Need.DISKS)
def conflict(w: World) -> None:
    """The CLI never sends it (corrections 42)."""
    name = w.create()
    assert w.call("Create", Name=name, Opts={"size": "2gb"}).error.endswith("[name-conflict]")
    assert w.call("Create", Name=name, Opts=dict(w.options)).error == ""


@CREATING.case(14, "Volumes made while others are mounted and removed are all there, and nothing else is.")
def storm(w: World) -> None:
    def live(number: int) -> str:
        name = w.make(f"storm{number}")
        w.write(w.mount(name), name)
        w.unmount(name)
        if number % 2:
            w.told("Remove", Name=name)
        return name

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(live, range(16)))
    assert w.listed() == sorted(made[::2])
    assert [w.read(w.mount(name)) for name in w.listed()] == w.listed()
    for name in w.listed():
        w.unmount(name)
