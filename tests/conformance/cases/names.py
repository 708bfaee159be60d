"""Any text reaches a plugin as a name: the engine checks nothing (docker-facts 2.8)."""

from __future__ import annotations

from tests.conformance.case import Group, Need
from tests.conformance.world import World

NAMES = Group("names")


def exact_or_refused(w: World, name: str) -> None:
    """The plugin may refuse a name, in one line; if it takes it, it is this name and no other, with data of its own."""
    before = w.listed()
    done = w.engine.docker(*w.create_command(name), check=False)
    if done.returncode:
        # The engine puts the name itself before it.
        assert len(done.stderr.replace(name, "").strip().splitlines()) == 1, (
            f"the error has more than one line: {done.stderr!r}"
        )
        assert w.listed() == before, f"{name!r} was refused, and List has changed"
        return
    assert w.listed() == sorted([*before, name])
    assert w.inspect(name)["Name"] == name
    path = w.mount(name)
    w.write(path, name)
    w.unmount(name)
    assert w.read(w.mount(name)) == name
    w.unmount(name)
    w.said("volume", "rm", "--", name)
    assert w.listed() == before


def each_exact_or_refused(w: World, *names: str) -> None:
    for name in names:
        exact_or_refused(w, name)


def never_one_for_the_other(w: World, one: str, other: str) -> None:
    """Two spellings are two volumes with two data, or the second is refused."""
    w.make(one)
    w.write(w.mount(one), "one")
    w.unmount(one)
    refused = w.call("Create", Name=other, Opts=dict(w.options)).refused
    if refused:
        assert w.call("Get", Name=other).refused, f"{other!r} was refused at Create and is found by Get"
        assert other not in w.listed()
        return
    assert sorted([one, other]) == w.listed()
    w.write(w.mount(other), "other")
    w.unmount(other)
    assert w.read(w.mount(one)) == "one"
    w.unmount(one)
    w.told("Remove", Name=other)
    assert w.listed() == [one]


@NAMES.case(1, "A plain name is created, listed, shown and removed under this name.", quick=True)
def plain(w: World) -> None:
    name = w.create("plain-name_1.x")
    assert w.volumes() == [name]
    assert w.inspect(name)["Driver"] == w.driver
    w.said("volume", "rm", name)
    assert w.volumes() == []


@NAMES.case(2, "A name of one or two characters is taken as it is, or refused.")
def short(w: World) -> None:
    each_exact_or_refused(w, "a", "ab", "0")


@NAMES.case(3, "A name of 100 or 255 characters is taken whole, or refused with nothing left.")
def long(w: World) -> None:
    each_exact_or_refused(w, "n" * 100, "m" * 255)


@NAMES.case(4, "A name of 4,000 characters does no harm.")
def endless(w: World) -> None:
    exact_or_refused(w, "x" * 4000)


@NAMES.case(5, "Blanks inside a name are part of it, or the name is refused; a name that Docker itself would cut is refused.")
def blanks(w: World) -> None:
    each_exact_or_refused(w, "with space", "two  blanks")
    # Docker's command of version 28 looks for "v" then, in `volume inspect` and `volume rm`: nobody could remove it.
    for name in (" v", "v ", " "):
        assert w.call("Create", Name=name, Opts=dict(w.options)).refused, f"{name!r} was taken"
        assert w.listed() == []


@NAMES.case(6, "Unicode is taken byte for byte, or refused.")
def unicode(w: World) -> None:
    each_exact_or_refused(w, "héllo", "データ", "база", "🐳", "ÅngströmΩ")


@NAMES.case(7, "The composed and the decomposed spelling are never taken for each other.")
def normal_forms(w: World) -> None:
    never_one_for_the_other(w, "caf\u00e9", "cafe\u0301")


@NAMES.case(8, "Upper and lower case are never taken for each other.")
def letter_case(w: World) -> None:
    never_one_for_the_other(w, "Data", "data")


@NAMES.case(9, "A name and the same one with @ and a suffix are never taken for each other.")
def at_sign(w: World) -> None:
    never_one_for_the_other(w, "db", "db@ds1")


@NAMES.case(10, "A name with @ is taken whole, or refused.")
def at_names(w: World) -> None:
    each_exact_or_refused(w, "@", "@db", "db@", "a@b@c", "db@nowhere")


@NAMES.case(11, "A name like a path leads nowhere: not out of the plugin's directory, not to another volume.")
def paths(w: World) -> None:
    for name in ("../../etc", "..", ".", "a/b", "/etc", "a/../b", "..\\x", "./a", "a/"):
        before = w.listed()
        # At the socket: the engine's own API takes no such name in a URL, so that nobody could remove it.
        if not w.call("Create", Name=name, Opts=dict(w.options)).refused:
            assert w.listed() == sorted([*before, name])
            w.write(w.mount(name), name)
            w.unmount(name)
            w.told("Remove", Name=name)
        assert w.listed() == before
        answer = w.call("Mount", Name=name, ID="1" * 64)
        assert answer.refused, f"{name!r} is no volume any more and is mounted at {answer.body!r}"


@NAMES.case(12, "What a shell, a pattern or an option parser would take apart is taken whole, or refused.")
def metacharacters(w: World) -> None:
    each_exact_or_refused(w, "*", "?", "-d", "--help", "$(id)", "`id`", "a;b", "a|b", "a'b", 'a"b', "a,b", "a=b", "%s", "a%2Fb")


@NAMES.case(13, "A line end or another control character is taken whole, or refused.")
def control_characters(w: World) -> None:
    each_exact_or_refused(w, "a\nb", "a\tb", "a\rb", "a\x1b[31mb", "a\x7fb")


@NAMES.case(14, "Hidden, reserved and number-like names are names.")
def reserved(w: World) -> None:
    each_exact_or_refused(w, ".hidden", "null", "None", "true", "0", "lost+found", "local", "CON")


@NAMES.case(15, "A removed name can be used again at once, ten times, and is empty each time.", quick=True)
def again(w: World) -> None:
    for _ in range(10):
        w.create("again")
        assert w.call("Get", Name="again").error == ""
        w.said("volume", "rm", "again")
    w.create("again")
    assert w.sh("again", "ls -A /data | wc -l") == "0"


@NAMES.case(16, "An unknown name is an error at Get, Mount, Path and Remove, and stays unknown.")
def unknown(w: World) -> None:
    for endpoint in ("Get", "Mount", "Path", "Remove"):
        answer = w.call(endpoint, Name="nothing", ID="1" * 64)
        assert answer.refused, f"{endpoint} of an unknown name: {answer.body!r}"
    assert w.listed() == []
    assert "no such volume" in w.engine.refused("volume", "inspect", "nothing").lower()


@NAMES.case(17, "The empty name, which an engine sends for a volume that it rediscovered, is an error at once.")
def empty(w: World) -> None:
    for endpoint in ("Get", "Create", "Mount", "Unmount", "Path", "Remove"):
        answer = w.call(endpoint, Name="", ID="1" * 64)
        assert answer.status is not None, f"{endpoint} of the empty name is not answered: the engine waits 15 s for it"
        # Nothing is mounted under it: an Unmount may well say that this is so now.
        assert answer.refused or endpoint == "Unmount", f"{endpoint} of the empty name: {answer.body!r}"
    assert w.listed() == []


@NAMES.case(18, "A second spelling of a volume's name goes round no check of the engine.", Need.DISKS, quick=True)
def second_spelling(w: World) -> None:
    """Corrections 29: a container that does not run has no mount; only the engine's count by name protects its volume."""
    db = w.create("db")
    w.sh(db, "echo kept > /data/note")
    w.said("create", "--name", "waiting", "--network", "none", "-v", f"{db}:/x", "busybox", "true")
    assert "volume is in use" in w.engine.refused("volume", "rm", db)
    w.engine.refused("volume", "rm", f"{db}@ds1")
    said = w.call("Remove", Name=f"{db}@ds1").error
    assert f"the one on ds1 is named {db}" in said
    assert said.endswith("[volume-not-found]")
    w.said("rm", "waiting")
    assert w.sh(db, "cat /data/note") == "kept"
