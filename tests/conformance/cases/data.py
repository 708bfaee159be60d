"""What containers see: shared volumes, read-only mounts, copy-up from the image, `docker cp`."""

from __future__ import annotations

from tests.conformance.case import Group
from tests.conformance.world import World
from tests.integration.engine.engine import IMAGE
from tests.integration.engine.machine import wait_until

DATA = Group("data")
RUN = ("run", "--rm", "--network", "none")


@DATA.case(1, "A second container reads what the first wrote.", quick=True)
def second_container(w: World) -> None:
    name = w.create()
    w.sh(name, "echo hello > /data/note")
    assert w.sh(name, "cat /data/note") == "hello"


@DATA.case(2, "Two containers share a volume, and the first to end takes nothing away.", quick=True)
def shared(w: World) -> None:
    name = w.create()
    w.container("one", "-v", f"{name}:/data")
    w.container("two", "-v", f"{name}:/data")
    w.inside("one", "echo shared > /data/note")
    w.said("rm", "-f", "one")
    assert w.inside("two", "cat /data/note; echo more >> /data/note; sync; tail -n1 /data/note") == "shared\nmore"


@DATA.case(3, "A read-only mount beside a writing one sees what is written, and cannot write.", quick=True)
def read_only_beside_writer(w: World) -> None:
    name = w.create()
    w.container("writer", "-v", f"{name}:/data", script="echo written > /data/note; sleep 10000")
    wait_until(lambda: w.inside("writer", "ls /data") == "note", "the writer has written")
    script = "cat /x/note; touch /x/y 2> /dev/null || echo refused"
    assert w.said(*RUN, "-v", f"{name}:/x:ro", IMAGE, "sh", "-c", script) == "written\nrefused"
    assert w.inside("writer", "echo more >> /data/note; tail -n1 /data/note") == "more"


@DATA.case(4, "After a read-only container a writing one can write.")
def read_only_first(w: World) -> None:
    name = w.create()
    assert w.sh(name, "touch /x/y 2> /dev/null || echo refused", "-v", f"{name}:/x:ro") == "refused"
    assert w.sh(name, "echo y > /data/note; cat /data/note") == "y"


@DATA.case(5, "One volume at two places of a container is one volume.", quick=True)
def two_places(w: World) -> None:
    name = w.create()
    both = ("-v", f"{name}:/x", "-v", f"{name}:/y")
    assert w.said(*RUN, *both, IMAGE, "sh", "-c", "echo once > /x/note; cat /y/note") == "once"
    assert w.sh(name, "cat /data/note") == "once"


@DATA.case(6, "`--volumes-from` gives the same volumes, read-only if asked.", quick=True)
def volumes_from(w: World) -> None:
    name = w.create()
    w.container("first", "-v", f"{name}:/data")
    assert w.said(*RUN, "--volumes-from", "first", IMAGE, "sh", "-c", "echo y > /data/note; cat /data/note") == "y"
    read_only = ("--volumes-from", "first:ro")
    assert w.said(*RUN, *read_only, IMAGE, "sh", "-c", "cat /data/note; touch /data/x 2>&1 | grep -c Read-only") == "y\n1"
    assert w.inside("first", "cat /data/note") == "y"


@DATA.case(7, "`--volumes-from` a container that was never started works, and its end takes nothing away.")
def volumes_from_created(w: World) -> None:
    name = w.create()
    w.said("create", "--name", "data-only", "--network", "none", "-v", f"{name}:/data", IMAGE, "true")
    w.container("user", "--volumes-from", "data-only", script="echo y > /data/note; sleep 10000")
    w.said("rm", "data-only")
    wait_until(lambda: w.inside("user", "cat /data/note") == "y", "the container has its volume")


@DATA.case(8, "The image's files are copied into a new volume, with owner and mode.", quick=True)
def copy_up(w: World) -> None:
    name = w.create()
    assert w.said(*RUN, "-v", f"{name}:/seeded", IMAGE, "cat", "/seeded/from-the-image") == "seed"
    before = w.said(*RUN, IMAGE, "stat", "-c", "%u:%g %a", "/seeded/from-the-image")
    assert w.sh(name, "stat -c '%u:%g %a' /data/from-the-image") == before


@DATA.case(9, "The image's files are copied once: what a container changed stays.", quick=True)
def copy_up_once(w: World) -> None:
    name = w.create()
    run = (*RUN, "-v", f"{name}:/seeded", IMAGE, "sh", "-c")
    assert w.said(*run, "echo mine > /seeded/from-the-image; cat /seeded/from-the-image") == "mine"
    assert w.said(*run, "cat /seeded/from-the-image") == "mine"


@DATA.case(10, "Nothing is copied into a volume that has data.")
def no_copy_up_over_data(w: World) -> None:
    name = w.create()
    w.sh(name, "echo mine > /data/note")
    assert w.said(*RUN, "-v", f"{name}:/seeded", IMAGE, "ls", "/seeded") == "note"


@DATA.case(11, "With volume-nocopy nothing is copied.", quick=True)
def nocopy(w: World) -> None:
    name = w.create()
    mount = f"type=volume,source={name},target=/seeded,volume-nocopy"
    assert w.said(*RUN, "--mount", mount, IMAGE, "sh", "-c", "ls -A /seeded | wc -l") == "0"


@DATA.case(12, "`docker create` copies the image's files, and holds the volume mounted for nobody afterwards.")
def copy_up_at_create(w: World) -> None:
    name = w.create()
    w.said("create", "--name", "never", "--network", "none", "-v", f"{name}:/seeded", IMAGE, "true")
    assert w.sh(name, "cat /data/from-the-image") == "seed"
    w.said("rm", "never")
    w.said("volume", "rm", name)


@DATA.case(13, "`docker cp` into and out of a container that was never started.", quick=True)
def cp_created(w: World) -> None:
    name = w.create()
    w.said("create", "--name", "never", "--network", "none", "-v", f"{name}:/data", IMAGE, "true")
    w.said("cp", "/etc/hostname", "never:/data/copied")
    assert "copied" in w.said("cp", "never:/data/copied", "-")
    w.said("rm", "never")
    assert w.sh(name, "test -s /data/copied && echo copied") == "copied"


@DATA.case(14, "`docker cp` on a running container leaves its volume mounted, also over a restart.", quick=True)
def cp_running(w: World) -> None:
    """The engine's Unmount of the copy has the running container's own ID (docker-facts 2.7)."""
    name = w.create()
    w.container("cp", "-v", f"{name}:/data", script="echo before >> /data/note; sleep 10000")
    wait_until(lambda: w.inside("cp", "ls /data") == "note", "the container has written")
    w.said("cp", "cp:/data/note", "-")
    assert w.inside("cp", "echo after >> /data/note; sync; tail -n1 /data/note") == "after"
    w.said("restart", "-t", "0", "cp")
    expected = "before\nafter\nbefore"
    wait_until(lambda: w.inside("cp", "cat /data/note") == expected, "the container goes on, on its data")


@DATA.case(15, "What is written after a `docker cp` into a running container is not lost.")
def cp_then_write(w: World) -> None:
    name = w.create()
    w.container("cp", "-v", f"{name}:/data")
    w.said("cp", "/etc/hostname", "cp:/data/copied")
    w.inside("cp", "echo after > /data/note; sync")
    w.said("rm", "-f", "cp")
    assert w.sh(name, "cat /data/note; test -s /data/copied && echo copied") == "after\ncopied"


@DATA.case(16, "`docker cp` on a container with two volumes takes neither away, three times.", long=True)
def cp_two_volumes(w: World) -> None:
    one, two = w.create(), w.create()
    w.container("cp", "-v", f"{one}:/one", "-v", f"{two}:/two")
    for number in range(3):
        w.said("cp", "/etc/hostname", f"cp:/one/{number}")
        w.said("cp", "/etc/hostname", f"cp:/two/{number}")
    assert w.inside("cp", "echo y > /one/note; echo z > /two/note; sync; cat /one/note /two/note") == "y\nz"
    w.said("rm", "-f", "cp")
    assert w.sh(one, "ls /data | sort | tr '\\n' ' '") == "0 1 2 note "
    assert w.sh(two, "cat /data/note") == "z"


@DATA.case(17, "After a `docker cp` on one of two containers the other one writes on.")
def cp_beside(w: World) -> None:
    name = w.create()
    w.container("one", "-v", f"{name}:/data")
    w.container("two", "-v", f"{name}:/data")
    w.said("cp", "one:/etc/passwd", "-")
    w.said("cp", "/etc/hostname", "one:/data/copied")
    w.said("rm", "-f", "one")
    assert w.inside("two", "echo y > /data/note; sync; cat /data/note") == "y"
    w.said("rm", "-f", "two")
    assert w.sh(name, "cat /data/note") == "y"


@DATA.case(18, "Owner and mode that a container sets stay.")
def owner_stays(w: World) -> None:
    """Field case C10."""
    name = w.create()
    w.sh(name, "chown 999:999 /data; chmod 700 /data")
    assert w.sh(name, "stat -c '%u:%g %a' /data") == "999:999 700"
    if w.daemon is not None:
        # The options act once, at format, and never again.
        w.daemon.stop()
        w.daemon.start()
        assert w.sh(name, "stat -c '%u:%g %a' /data") == "999:999 700"
    assert w.sh(name, "touch /data/mine; stat -c %u /data/mine", "--user", "999:999") == "999"


@DATA.case(19, "Links, pipes, holes, odd file names and modes are there again.")
def kinds_of_files(w: World) -> None:
    name = w.create()
    make = "cd /data; echo x > file; ln -s file link; ln file hard; mkfifo pipe; chmod 4751 file; mkdir -p d/e;"
    make += "touch 'a b' \"$(printf 'h\\303\\251')\"; truncate -s 1M hole; touch -d '2001-02-03 04:05:06' file; sync"
    look = "cd /data; find . | sort | tr '\\n' ' '; stat -c '%a %h %Y' file; readlink link; stat -c '%F %s' pipe hole"
    first = w.sh(name, f"{make}; {look}")
    assert w.sh(name, look) == first
    assert "4751 2 981173106" in first


@DATA.case(20, "Twenty megabytes of noise have the same checksum in the next container.")
def checksum(w: World) -> None:
    name = w.create()
    made = w.sh(name, "head -c 20000000 /dev/urandom > /data/noise; md5sum < /data/noise; sync")
    assert w.sh(name, "md5sum < /data/noise") == made


@DATA.case(21, "A container of another user reads what root left readable.")
def other_user(w: World) -> None:
    """Every directory above the mount point must let it pass."""
    name = w.create()
    w.sh(name, "echo y > /data/note; chmod 644 /data/note; chmod 755 /data")
    assert w.sh(name, "cat /data/note", "--user", "1234:1234") == "y"


@DATA.case(22, "A volume below another volume of the same container.")
def nested(w: World) -> None:
    outer, inner = w.create(), w.create()
    mounts = ("-v", f"{outer}:/data", "-v", f"{inner}:/data/inner")
    w.said(*RUN, *mounts, IMAGE, "sh", "-c", "echo o > /data/note; echo i > /data/inner/note")
    assert w.sh(inner, "cat /data/note") == "i"
    assert w.sh(outer, "cat /data/note; ls -A /data/inner | wc -l") == "o\n0"
