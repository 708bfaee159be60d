"""The row of many volumes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tests.bench.figures import Goal, Measured, paired
from tests.bench.lines import Line, Row
from tests.bench.stage import Stage
from tests.bench.subject import Subject, timed
from tests.daemons.site import eventually
from tests.scale.filling import fill

_RATIO = 10
# Seconds on a quiet machine; a limit that ends the row on one where it does not come to an end.
_LEARNED_S = 300.0


def many(stage: Stage) -> Mapping[str, Measured]:
    """Wall time of a List on the plugin's socket of an agent that knows 10,000 volumes, over one that knows 1,000.

    Each has a service of its own with as many records, disks and sidecars. Linear would be 10. The client reads the
    answer and parses it, on both sides.
    """
    big = stage.filled("many", lambda subject: fill_subject(subject, stage.effort.many))
    small = stage.filled("few", lambda subject: fill_subject(subject, stage.effort.many // _RATIO))
    for subject, number in ((big, stage.effort.many), (small, stage.effort.many // _RATIO)):
        eventually(partial(_knows, subject, number), f"the agent knows its {number} volumes", _LEARNED_S)
    rounds = stage.compare(lambda: timed(lambda: big.host.told("List")), lambda: timed(lambda: small.host.told("List")))
    return {"list": paired(rounds)}


def _knows(subject: Subject, number: int) -> bool:
    # Until it has reached the service for the first time, the agent says that it knows none.
    return len(subject.host.call("List").get("Volumes") or ()) == number


def fill_subject(subject: Subject, number: int) -> None:
    """Give a subject that was never started so many volumes."""
    database = subject.root / "state" / "service" / "vmdkvol.db"
    database.parent.mkdir(parents=True, mode=0o700)
    fill(database, Path(subject.datastore), number)


ROWS = (
    Row(
        "list",
        (Line("list", "List of 10,000 volumes", "List of 1,000 (linear: 10)", Goal(12)),),
        many,
        35,
        "long-list",
        ("list",),
    ),
)
