"""The rows of what a database does on a volume: the plugin is not in that path, and must not have spoiled it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.bench.calls import commits_by_hand, undo_by_hand
from tests.bench.figures import Goal, Measured, Round, Spread, Unit, paired
from tests.bench.lines import Line, Row
from tests.bench.stage import Stage

_FIO_BYTES = 16 << 20
_FIO_WRITES = 400


def commits(stage: Stage) -> Mapping[str, Measured]:
    """Commits and synced writes per second in the mount that a container would get, over an ext4 made and mounted by hand.

    By hand: a sparse file beside the volumes, a loop device with direct I/O, mkfs.ext4 with the features and options that a
    volume has, the same mount options: what other features would cost is not in it. SQLite: one row a transaction, WAL,
    synchronous=FULL. fio: 4 KiB random writes, an fsync after each, in a file that was laid out before. Opening and laying
    out are not timed. Floor and floor again are two of them, so that each side's journal is as new: its first passage
    writes to blocks that the sparse file does not have yet.
    """
    subject = stage.subject()
    name = stage.name("db")
    subject.create(name)
    volume = subject.mount(name)
    places = [stage.directory(f"by-hand{number}") for number in (1, 2)]
    made = [commits_by_hand(place) for place in places]
    sides = {"ours": volume, "floor": made[0][0], "again": made[1][0]}
    try:
        sqlite = stage.turns(stage.effort.rounds, {side: partial(_sqlite, stage, data) for side, data in sides.items()})
        for data in sides.values():
            _lay_out(data / "fio")
        fio = stage.turns(stage.effort.rounds, {side: partial(_fio, data / "fio") for side, data in sides.items()})
    finally:
        for place, (_, device) in zip(places, made, strict=True):
            undo_by_hand(place, device)
    subject.unmount(name)
    subject.wait_detached()
    subject.remove(name)
    return {
        key: as_rates(paired([Round(**each) for each in taken]))
        for key, taken in (("commits.sqlite", sqlite), ("commits.fio", fio))
    }


def as_rates(measured: Measured) -> Measured:
    """Turn seconds for one into how many a second; the ratio is the inverse."""
    assert measured.ratio is not None
    assert measured.floor is not None
    ratio = Spread(1 / measured.ratio.high, 1 / measured.ratio.median, 1 / measured.ratio.low)
    return replace(measured, value=ratio.median, ratio=ratio, ours=1 / measured.ours, floor=1 / measured.floor)


def _sqlite(stage: Stage, directory: Path) -> float:
    """Return the seconds of one commit."""
    path = directory / "bench.db"
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, text TEXT)")
        began = time.perf_counter()
        for _ in range(stage.effort.calls):
            database.execute("INSERT INTO rows (text) VALUES (?)", ("x" * 100,))
        return (time.perf_counter() - began) / stage.effort.calls
    finally:
        database.close()


def _lay_out(file: Path) -> None:
    with file.open("wb") as laid:
        laid.write(os.urandom(_FIO_BYTES))
        laid.flush()
        os.fsync(laid.fileno())


def _fio(file: Path) -> float:
    """Return the seconds of one write with its fsync, as fio counts them."""
    job = ["--name=bench", f"--filename={file}", f"--size={_FIO_BYTES}", "--rw=randwrite", "--bs=4k", "--ioengine=psync"]
    limits = [f"--number_ios={_FIO_WRITES}", "--fsync=1", "--randrepeat=0", "--overwrite=1", "--output-format=json"]
    done = subprocess.run(["fio", *job, *limits], check=True, capture_output=True, text=True, timeout=120)
    text = done.stdout[done.stdout.index("{") :]
    rate = float(json.loads(text)["jobs"][0]["write"]["iops"])
    return 1 / rate


_FLOOR = "loop + ext4 by hand"
ROWS = (
    Row(
        "commits",
        (
            Line("commits.sqlite", "SQLite commits (WAL, FULL)", _FLOOR, Goal(0.95, least=True), Unit.RATE),
            Line("commits.fio", "fio 4 KiB writes with fsync", _FLOOR, Goal(0.95, least=True), Unit.RATE),
        ),
        commits,
        45,
        "synchronous",
        ("commits.sqlite",),
    ),
)
