"""The rows of the administrator's command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

from tests.bench.figures import Goal, Measured, absolute
from tests.bench.lines import Line, Row
from tests.bench.lists import fill_subject
from tests.bench.stage import Stage
from tests.bench.subject import ran, timed
from tests.daemons.web_process import WebProcess

_FLOOR = [sys.executable, "-c", "import click"]
# What a spoiled one does before it does anything else.
_SLOW = "import time; time.sleep(1.5); from vmdkvol.cli.main import main; main()"


def helps(stage: Stage) -> Mapping[str, Measured]:
    """Wall time of `vmdkvol --help`, from the start of its process to its end, with its output thrown away.

    The floor is the same interpreter that loads click and ends. Both have their byte code, as an installation has it: the
    first run of each, which makes it, is not counted.
    """
    command = [*_command(stage), "--help"]
    for each in (command, _FLOOR):
        _ran(each)
    return {"cli.help": absolute(stage.compare(lambda: timed(lambda: _ran(command)), lambda: timed(lambda: _ran(_FLOOR))))}


def lists(stage: Stage) -> Mapping[str, Measured]:
    """Wall time of `vmdkvol volume ls` of a service with 10,000 volumes, from the start of its process to its end.

    It goes by the REST API's process, page by page, over a Unix socket; the table is thrown away. The floor is the same
    interpreter that loads click and ends.
    """
    subject = stage.filled("many", lambda made: fill_subject(made, stage.effort.many))
    web = WebProcess(subject.service.config)
    try:
        command = [*_command(stage), "volume", "ls", "--api", web.address]
        _ran(command)
        rounds = stage.compare(lambda: timed(lambda: _ran(command)), lambda: timed(lambda: _ran(_FLOOR)))
    finally:
        web.stop()
    return {"cli.list": absolute(rounds)}


def _command(stage: Stage) -> list[str]:
    return [sys.executable, "-c", _SLOW] if stage.spoil == "slow-start" else [sys.executable, "-m", "vmdkvol.cli.main"]


def _ran(command: list[str]) -> None:
    ran(*command, limit_s=120.0, output=subprocess.DEVNULL)


ROWS = (
    Row(
        "help",
        (Line("cli.help", "`vmdkvol --help`", "python that loads click", Goal(0.2, unit="s")),),
        helps,
        5,
        "slow-start",
        ("cli.help",),
    ),
    Row(
        "volumes",
        (Line("cli.list", "`vmdkvol volume ls` of 10,000 volumes", "python that loads click", Goal(1, unit="s")),),
        lists,
        14,
        "slow-start",
        ("cli.list",),
    ),
)
