"""Whether the API lives, and whether it can be used, with reasons. Pure: the facts are handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Checks = Mapping[str, Callable[[], str]]


@dataclass(frozen=True, slots=True)
class Health:
    """``checks`` are what must be well for the API to be used: each returns what is wrong, or nothing, within seconds."""

    checks: Checks = field(default_factory=dict)
    metrics: Callable[[], str] = str

    def live(self) -> tuple[bool, Mapping[str, str]]:
        """Who can answer this lives."""
        return True, {}

    def ready(self) -> tuple[bool, Mapping[str, str]]:
        """Tell whether all is well, and of each check ``ok`` or why not."""
        found = {name: check() or "ok" for name, check in self.checks.items()}
        return all(each == "ok" for each in found.values()), found
