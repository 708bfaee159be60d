"""Whether the API lives, and whether it can be used, with reasons. Pure: the facts are handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Checks = Mapping[str, Callable[[], str]]
OK = "ok"
_LOOK_AT = f"{OK}; see /v1/health for "


def well(notes: int) -> str:
    """Return what a check answers that is well, though there is something to look at.

    Not what it is: who may ask whether the API is ready need not be known.
    """
    return f"{_LOOK_AT}{notes} {'thing' if notes == 1 else 'things'} to look at" if notes else ""


@dataclass(frozen=True, slots=True)
class Health:
    """``checks`` are what must be well for the API to be used: each returns within seconds what is wrong, or nothing.

    A check that is well, and has something to look at, returns ``well(...)``.
    """

    checks: Checks = field(default_factory=dict)
    metrics: Callable[[], str] = str

    def live(self) -> tuple[bool, Mapping[str, str]]:
        """Who can answer this lives."""
        return True, {}

    def ready(self) -> tuple[bool, Mapping[str, str]]:
        """Tell whether all is well, and of each check ``ok`` or why not."""
        found = {name: check() or OK for name, check in self.checks.items()}
        return all(each == OK or each.startswith(_LOOK_AT) for each in found.values()), found
