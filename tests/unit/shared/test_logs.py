"""Logs: one line an event, which no input forges, no secret enters and no full or blocked disk holds up."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vmdkvol import logs


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    logs.unconfigure()
    yield
    logs.unconfigure()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


class Journal:
    """Logs into a file, and reads back what is in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
        self.output = logs.configure("info", descriptor=self.descriptor)

    def text(self) -> str:
        assert self.output.flush(5.0)
        return self._path.read_text(encoding="utf-8")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "log")
    yield journal
    journal.output.flush(5.0)
    os.close(journal.descriptor)


def test_an_event_is_one_json_line(journal: Journal) -> None:
    logs.get("driver").info("mounted", volume="db", size_bytes=512, lingering=False)
    (line,) = journal.lines()
    assert {key: line[key] for key in line if key != "time"} == {
        "level": "info",
        "event": "mounted",
        "part": "driver",
        "volume": "db",
        "size_bytes": 512,
        "lingering": False,
    }
    assert line["time"].endswith("+00:00")


def test_lines_come_in_the_order_of_their_events(journal: Journal) -> None:
    for number in range(500):
        logs.get("x").info("event", number=number)
    assert [line["number"] for line in journal.lines()] == list(range(500))


def test_what_is_below_the_level_is_not_written(journal: Journal) -> None:
    logs.get("x").debug("quiet")
    assert journal.lines() == []


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\x1b[31mred", "\x00", "\u2028", "\ud800", "\x85"])
def test_t14_no_field_forges_a_line_or_reaches_a_terminal(journal: Journal, text: str) -> None:
    logs.get("x").info("refused", name=text)
    (line,) = journal.lines()
    assert line["name"].isprintable()
    assert "\\" in line["name"]


@pytest.mark.parametrize("text", ["x" * 100_000, "ü" * 100_000, "\n" * 100_000])
def test_t14_a_field_is_cut_to_a_kibibyte(journal: Journal, text: str) -> None:
    logs.get("x").info("refused", name=text)
    (line,) = journal.lines()
    assert 1000 <= len(line["name"].encode()) <= logs.MAX_FIELD


def test_an_object_that_cannot_be_shown_does_not_stop_its_caller(journal: Journal) -> None:
    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no")

    logs.get("x").info("odd", what=Rude())
    assert journal.lines()[0]["what"] == "<Rude without text: RuntimeError>"


def test_n18_a_secret_is_in_no_log(journal: Journal) -> None:
    secret = logs.Secret("hunter2")
    logs.get("x").info(f"logging in with {secret}", password=secret, nested={"password": secret}, text=f"{secret!r}")
    assert "hunter2" not in journal.text()
    assert secret.reveal() == "hunter2"


def test_n18_a_secret_is_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(logs.Secret("hunter2"))


def test_the_request_id_is_on_every_line_of_its_block(journal: Journal) -> None:
    with logs.bound(request="r-1"):
        logs.get("x").info("inside")
    logs.get("x").info("outside")
    assert [line.get("request") for line in journal.lines()] == ["r-1", None]


def test_an_exception_comes_with_its_traceback_on_one_line(journal: Journal) -> None:
    try:
        raise ValueError("told")
    except ValueError:
        logs.get("x").exception("bug")
    (line,) = journal.lines()
    assert line["level"] == "error"
    assert "ValueError: told" in line["exception"]
    assert "test_logs.py" in line["exception"]


def test_what_libraries_warn_of_comes_along(journal: Journal) -> None:
    logging.getLogger("some.library").warning("disk %s is\nodd", "x")
    logging.getLogger("some.library").info("chatter")
    (line,) = journal.lines()
    assert (line["part"], line["message"], line["level"]) == ("some.library", "disk x is\\nodd", "warning")


def test_configuring_again_replaces_what_was_there(journal: Journal, tmp_path: Path) -> None:
    other = Journal(tmp_path / "other")
    logs.get("x").info("event")
    assert len(other.lines()) == 1
    assert journal.text() == ""


def test_before_it_is_configured_only_warnings_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    log = logs.get("x")
    log.info("quiet")
    log.warning("told", volume="a b")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.rstrip().endswith('warning told part=x volume="a b"')


@pytest.mark.parametrize(("level", "number"), [("info", 6), ("warning", 4), ("error", 3)])
def test_under_systemd_each_line_has_its_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, number: int
) -> None:
    path = tmp_path / "journal"
    path.touch()
    found = path.stat()
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    journal = Journal(path)
    getattr(logs.get("x"), level)("event")
    assert journal.text().startswith(f"<{number}>{{")


def test_a_stream_that_is_not_the_journals_gets_no_priority(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    output = logs.configure("info", descriptor=journal.descriptor)
    logs.get("x").info("event")
    assert output.flush(5.0)
    assert journal.text().startswith("{")


def test_a_terminal_gets_a_form_for_people() -> None:
    terminal, descriptor = os.openpty()
    output = logs.configure("info", descriptor=descriptor)
    logs.get("driver").info("mounted", volume="db", why="")
    assert output.flush(5.0)
    assert os.read(terminal, 1000).decode().rstrip().endswith('info    mounted part=driver volume=db why=""')
    os.close(terminal)
    os.close(descriptor)


def test_f59_a_log_that_blocks_holds_nobody_up() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    output = logs.configure("info", descriptor=writer)
    log = logs.get("x")
    began = time.monotonic()
    for number in range(10_000):
        log.info("event", number=number, ballast="x" * 100)
    assert time.monotonic() - began < 5.0
    assert output.dropped > 1000
    assert not output.flush(0.05)
    # Once somebody reads again, the log says what is missing.
    told = b""
    while b"lines before this one were lost" not in told:
        told = told[-200:] + os.read(reader, 65536)
    os.close(reader)


def test_f59_a_log_on_a_full_disk_loses_lines_and_nothing_else() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    output = logs.configure("info", descriptor=full)
    for number in range(100):
        logs.get("x").info("event", number=number)
    assert output.flush(5.0)
    assert output.dropped == 100
    os.close(full)


def test_f59_a_log_whose_reader_is_gone_loses_lines_and_nothing_else() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    output = logs.configure("info", descriptor=writer)
    logs.get("x").info("event")
    assert output.flush(5.0)
    assert output.dropped == 1
    os.close(writer)


@pytest.mark.integration
def test_a_child_after_a_fork_logs_by_itself(journal: Journal) -> None:
    logs.get("x").info("parent")
    assert journal.output.flush(5.0)
    child = os.fork()
    if child == 0:
        logs.get("x").info("child")
        os._exit(0 if journal.output.flush(5.0) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert [line["event"] for line in journal.lines()] == ["parent", "child"]
