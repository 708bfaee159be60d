"""How long work is told to people, in one wording for the agent, the service and the command. Pure."""

from __future__ import annotations

from vmdkvol.errors import Field, StillWorking
from vmdkvol.volume import Doing, Work

_WORDS = {
    Doing.CREATE: "being created",
    Doing.CLONE: "being cloned",
    Doing.DELETE: "being deleted",
    Doing.ATTACH: "being attached",
    Doing.DETACH: "being detached",
    Doing.GROW: "being enlarged",
    Doing.POLICY: "being put under another policy",
}
_REMEDIES = {
    Doing.CREATE: "it goes on; repeat the command or mount it when ready",
    Doing.CLONE: "it goes on; repeat the command or mount it when ready",
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def words(work: Work) -> str:
    """Return what is done and how far it is: ``being created, 43 % done, about 4 minutes left``."""
    said = [_WORDS[work.doing]]
    if work.percent > 0:
        said.append(f"{work.percent} % done")
    if work.left_s is not None:
        said.append(f"about {duration(work.left_s)} left")
    return ", ".join(said)


def duration(seconds: int) -> str:
    """Return a time as people say it, in one unit: a guess has no more digits than that."""
    if seconds < 2 * _MINUTE:
        return f"{max(seconds, 1)} second{'' if seconds <= 1 else 's'}"
    if seconds < 2 * _HOUR:
        return f"{round(seconds / _MINUTE)} minutes"
    if seconds < 2 * _DAY:
        return f"{round(seconds / _HOUR)} hours"
    return f"{round(seconds / _DAY)} days"


def still_working(name: str, work: Work) -> StillWorking:
    """Return the error that says of the volume what is being done, how far it is, and what to do meanwhile."""
    fields: dict[str, Field] = {"volume": name, "doing": work.doing.value, "percent": work.percent, "left_s": work.left_s}
    return StillWorking(f"volume {name}: still {words(work)}", remedy=_REMEDIES.get(work.doing), **fields)
