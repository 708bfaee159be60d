"""How the use of a datastore or of a quota is drawn: stretches of a bar, in hundredths of the whole, and in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmdkvol.sizes import short_size
from vmdkvol_esx.filling import FULL, NEARLY

# What is not taken yet.
MORE = "more"


@dataclass(frozen=True, slots=True)
class Stretch:
    """``kind`` is how it is coloured. ``size_bytes`` is what it stands for."""

    kind: str
    says: str
    start: float
    width: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Bar:
    """``percent`` may be more than 100, None: not known. ``full``: it is time to look; ``over``: there is no room for all.

    ``says`` is the picture in words.
    """

    stretches: Sequence[Stretch]
    percent: int | None
    full: bool
    over: bool
    says: str

    @property
    def figure(self) -> str:
        """The percent as people read it: something is not nothing, and what is not known is no figure."""
        if self.percent is None:
            return ""
        something = any(each.kind != MORE for each in self.stretches)
        return "< 1 %" if self.percent == 0 and something else f"{self.percent} %"


def of_datastore(store: Mapping[str, Any]) -> Bar:
    """Return what is taken of its capacity, by volumes and by others, and what volumes may still take, as far as is known."""
    capacity, free, used = store["capacity_bytes"], store["free_bytes"], store["used_bytes"]
    if capacity is None or free is None or capacity <= 0:
        return Bar((), None, full=False, over=False, says="how full it is is not known now")
    taken = max(0, capacity - free)
    # Of a hole in a thin disk, or a disk that is deleted just now, more may be said than is taken.
    ours = 0 if used is None else min(used, taken)
    grows = 0 if used is None else max(0, store["provisioned_bytes"] - used)
    parts = [("part", "volumes", ours), ("others", "others" if used is not None else "taken", taken - ours)]
    parts.append((MORE, "volumes may still take", grows))
    whose = "" if used is None else f", {short_size(ours)} of it by volumes"
    says = f"{short_size(taken)} of {short_size(capacity)} is taken{whose}; {short_size(free)} is free"
    if grows:
        says += f", and volumes may take {short_size(grows)} more"
    return Bar(_laid(parts, capacity), taken * 100 // capacity, taken >= FULL * capacity, grows > free, says)


def of_quota(used: int, total: int) -> Bar:
    """Return what is taken of a quota."""
    stretches = _laid([("part", "used", min(used, total))], max(total, 1))
    percent = used * 100 // total if total > 0 else 100
    left = f"{short_size(used - total)} too much" if used > total else f"{short_size(total - used)} left"
    return Bar(stretches, percent, used >= NEARLY * total, used > total, f"{short_size(used)} of {short_size(total)}, {left}")


def _laid(parts: Sequence[tuple[str, str, int]], whole: int) -> tuple[Stretch, ...]:
    """Return the parts that are something, one after the other; what is beyond the whole is not drawn."""
    laid, start = list[Stretch](), 0.0
    for kind, says, size in parts:
        width = min(100.0 - start, 100.0 * size / whole)
        if size > 0:
            laid.append(Stretch(kind, says, round(start, 2), round(width, 2), size))
        start += width
    return tuple(laid)
