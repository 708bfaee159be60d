"""Completion offers names that any shell takes as they are, in a moment or not at all, and says nothing."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from tests.doubles.small_api import Says, SmallApi, problem
from vmdkvol.adoption_messages import FoundDisk, FoundDisks
from vmdkvol.cli.completing import as_place, as_word, cache_file, offered, remembered
from vmdkvol.cli.main import cli
from vmdkvol.command import run
from vmdkvol.wire import dump

HOSTILE = [
    "$(reboot)",
    "`reboot`",
    "a;reboot",
    "a b",
    "a\nb",
    "a\x1b[2J",
    "-rf",
    "--yes",
    "~root",
    "a*",
    "a?",
    "[a]",
    "a|b",
    "a&b",
    "a>b",
    "'a",
    '"a',
    "a\\b",
    "#a",
    "!a",
    "{a,b}",
    "a=b",
    "a:b",
    "a,b",
    "",
    "\u202ea",
    "a" * 300,
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VMDKVOL_API", raising=False)
    return tmp_path / "cache" / "vmdkvol"


def page(*names: object) -> Says:
    return Says({"vmgroups": [{"name": name} for name in names], "next": None})


def completed(socket: Path, *words: str) -> list[str]:
    *arguments, incomplete = words
    line = [*arguments[:2], "--api", f"unix://{socket}", *arguments[2:]]
    return [item.value for item in ShellComplete(cli, {}, "vmdkvol", "_X").get_completions(line, incomplete)]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_what_a_shell_would_read_differently_is_not_offered(name: str) -> None:
    assert offered(iter([{"name": name}, {"name": "db"}]), "name") == ["db"]


@pytest.mark.parametrize("name", ["db", "web-1.example", "a@ds1", "_DEFAULT", "数据", "A_b+c"])
def test_ordinary_names_are(name: str) -> None:
    assert offered(iter([{"name": name}, {"name": name}, {"name": 7}]), "name") == [name]


def test_names_that_begin_like_it_are_offered(tmp_path: Path) -> None:
    api = SmallApi(tmp_path / "s", [page("prod", "play", "test")])
    try:
        assert completed(tmp_path / "s", "vmgroup", "inspect", "p") == ["play", "prod"]
    finally:
        api.stop()


def disk(place: str, *, adoptable: bool = True) -> FoundDisk:
    return FoundDisk(place, adoptable, "" if adoptable else "a machine has it", "6000c29a", 1 << 30, 4096, "thin")


def test_a_disk_to_adopt_is_completed_by_what_the_last_scan_saw_and_tab_begins_none(tmp_path: Path, cache: Path) -> None:
    taken = disk("[ds1] web/web.vmdk", adoptable=False)
    seen = FoundDisks((disk("[ds1] a/x.vmdk"), disk("[ds1] a b/y.vmdk"), disk("[ds1] $(reboot)/z.vmdk"), taken))
    api = SmallApi(tmp_path / "s", [Says(dump(seen))])
    try:
        assert completed(tmp_path / "s", "volume", "adopt", "") == []
        assert run(cli, "vmdkvol", ["volume", "scan", "--api", f"unix://{tmp_path / 's'}", "ds1"]) == 0
        assert completed(tmp_path / "s", "volume", "adopt", "ds1/") == ["ds1/a/x.vmdk"]
        assert len(api.asked) == 1
    finally:
        api.stop()
    (file,) = cache.iterdir()
    os.utime(file, (time.time() - 3601.0,) * 2)
    assert completed(tmp_path / "s", "volume", "adopt", "ds1/") == []


@pytest.mark.parametrize("place", ["[ds1] a/x.vmdk", "[ds 1] x.vmdk", "[ds1] a/[b] c.vmdk"])
def test_a_place_is_the_same_as_a_word(place: str) -> None:
    assert as_place(as_word(place)) == place
    assert as_place(place) == place


@pytest.mark.parametrize("word", ["x.vmdk", "/x.vmdk", "ds1/", "[ds1]", "[ds1]x/y"])
def test_what_is_no_place_is_left_for_the_service_to_refuse(word: str) -> None:
    assert (as_place(word), as_word(word)) == (word, word)


def test_they_are_remembered_in_a_file_of_ones_own(tmp_path: Path, cache: Path) -> None:
    api = SmallApi(tmp_path / "s", [page("prod")])
    try:
        assert completed(tmp_path / "s", "vmgroup", "inspect", "") == completed(tmp_path / "s", "vmgroup", "rm", "") == ["prod"]
        assert len(api.asked) == 1
    finally:
        api.stop()
    (file,) = cache.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "answer",
    [
        problem("not-permitted", status=401),
        Says(b"<html>", 502, "text/html"),
        Says({"vmgroups": [{"nom": "x"}, 7], "next": None}),
        Says([1]),
        Says({"vmgroups": None, "next": None}),
        Says({"vmgroups": [{"name": "a"}], "next": None}, hang=True),
    ],
    ids=["expired", "a-proxy", "other-keys", "a-list", "null", "silent"],
)
def test_a_bad_answer_completes_nothing_and_says_nothing(
    tmp_path: Path, answer: Says, capfd: pytest.CaptureFixture[str]
) -> None:
    api = SmallApi(tmp_path / "s", [answer])
    try:
        assert completed(tmp_path / "s", "vmgroup", "inspect", "") == []
    finally:
        api.stop()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("words", [("vmgroup", "inspect", ""), ("vmgroup", "rm", "prod", "")])
def test_nobody_there_completes_nothing(tmp_path: Path, words: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    assert completed(tmp_path / "nowhere", *words) == []
    assert capfd.readouterr() == ("", "")


def test_after_the_vmgroup_come_machines(tmp_path: Path) -> None:
    api = SmallApi(tmp_path / "s", [Says({"vms": [{"name": "web1"}], "next": None})])
    try:
        found = ShellComplete(cli, {}, "vmdkvol", "_X").get_completions(
            ["vmgroup", "vm", "add", "--api", f"unix://{tmp_path}/s", "prod"], ""
        )
        assert [item.value for item in found] == ["web1"]
        assert api.asked[0].target.startswith("/v1/vms")
    finally:
        api.stop()


def test_of_a_list_with_commas_the_last_name_is_completed_and_none_twice(tmp_path: Path) -> None:
    api = SmallApi(tmp_path / "s", [Says({"vms": [{"name": name} for name in ("web1", "web2", "db1")], "next": None})])
    try:
        assert completed(tmp_path / "s", "vmgroup", "create", "--vm-list", "web1,we") == ["web1,web2"]
    finally:
        api.stop()


def test_datastores_are_offered_with_the_words_in_their_place(tmp_path: Path) -> None:
    api = SmallApi(tmp_path / "s", [Says({"datastores": [{"name": "ds1"}], "next": None})])
    try:
        found = ShellComplete(cli, {}, "vmdkvol", "_X").get_completions(
            ["vmgroup", "access", "set", "--api", f"unix://{tmp_path}/s", "prod", "--datastore"], ""
        )
        assert [item.value for item in found] == ["ds1", "_VM_DS", "_ALL_DS"]
    finally:
        api.stop()


def test_work_under_way_is_offered_by_its_id_as_many_as_a_list_has(tmp_path: Path) -> None:
    task = "41949d24-4cea-5e3f-a81c-14a93a89d264"
    api = SmallApi(tmp_path / "s", [Says({"tasks": [{"id": task}]})])
    try:
        assert completed(tmp_path / "s", "task", "wait", "41") == [task]
        assert api.asked[0].target == "/v1/tasks?limit=200"
    finally:
        api.stop()


def kept(file: Path, content: str, *, age_s: float = 0.0, mode: int = 0o600) -> Path:
    file.write_text(content)
    file.chmod(mode)
    os.utime(file, (time.time() - age_s,) * 2)
    return file


def test_what_is_fresh_is_remembered(tmp_path: Path) -> None:
    assert remembered(kept(tmp_path / "a", '["a", "$(reboot)", 7]'), time.time()) == ["a"]


@pytest.mark.parametrize(
    ("age_s", "mode"),
    [
        pytest.param(6.0, 0o600, id="old"),
        pytest.param(-3600.0, 0o600, id="of-the-future"),
        pytest.param(0.0, 0o620, id="the-group-may-write"),
        pytest.param(0.0, 0o602, id="anybody-may-write"),
    ],
)
def test_what_is_old_or_of_others_is_not(tmp_path: Path, age_s: float, mode: int) -> None:
    assert remembered(kept(tmp_path / "a", '["a"]', age_s=age_s, mode=mode), time.time()) is None


def test_a_link_a_pipe_and_nothing_are_not(tmp_path: Path) -> None:
    kept(tmp_path / "a", '["a"]')
    (tmp_path / "link").symlink_to(tmp_path / "a")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "nothing"):
        assert remembered(tmp_path / name, time.time()) is None


@pytest.mark.parametrize("content", ["{}", "null", "7", '"a"'])
def test_a_file_of_other_content_is_not(tmp_path: Path, content: str) -> None:
    assert remembered(kept(tmp_path / "a", content), time.time()) is None


def test_a_broken_cache_completes_nothing_until_it_is_old(tmp_path: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    file = cache_file(f"unix://{tmp_path}/s", "vmgroups", str(cache.parent), tmp_path)
    kept(file, "{")
    api = SmallApi(tmp_path / "s", [page("prod")])
    try:
        assert completed(tmp_path / "s", "vmgroup", "inspect", "") == []
        kept(file, "{", age_s=6.0)
        assert completed(tmp_path / "s", "vmgroup", "inspect", "") == ["prod"]
    finally:
        api.stop()
    assert json.loads(file.read_text()) == ["prod"]


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_without_a_cache_directory_it_is_that_of_the_user(home: str | None) -> None:
    assert cache_file("unix:///x", "vms", home, Path("/home/me")).parent == Path("/home/me/.cache/vmdkvol")


def test_two_apis_do_not_share_what_is_remembered() -> None:
    assert cache_file("unix:///a", "vms", "/c", Path("/h")) != cache_file("unix:///b", "vms", "/c", Path("/h"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, "vmdkvol", ["completion", shell]) == 0

    assert f"_VMDKVOL_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_another_shell_is_refused() -> None:
    assert run(cli, "vmdkvol", ["completion", "tcsh"]) == 2
