"""What a run of the suite is about: which plugin, which engines, which cases.

Without the options (`make test`) it is our own plugin: every case but the long ones on the installed engine, the quick ones on
the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import pytest

from tests.conformance.case import Case, Need
from tests.conformance.suite import CASES, possible
from tests.conformance.world import World
from tests.conformance.worlds import EVERYTHING, foreign, own
from tests.integration.engine.builds import NEXT, OWN, Build


@dataclass(frozen=True, slots=True)
class Chosen:
    """``driver`` is "" for our own plugin, which the run starts itself."""

    driver: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    full: bool = False

    @property
    def builds(self) -> tuple[Build, ...]:
        return (OWN, NEXT)

    @property
    def given(self) -> frozenset[Need]:
        return frozenset() if self.driver else EVERYTHING

    def cases(self, build: Build) -> list[Case]:
        return [case for case in possible(self.given) if self.full or case.quick or (build is OWN and not case.long)]

    def left_out(self) -> list[Case]:
        """Return the cases that this plugin cannot be tried with."""
        return [case for case in CASES if not case.needs <= self.given]

    def world(self, build: Build) -> AbstractContextManager[World]:
        return foreign(build, self.driver, self.options) if self.driver else own(build)


def chosen(config: pytest.Config) -> Chosen:
    """Return what the command line says; UsageError for options that are no KEY=VALUE."""
    words = str(config.getoption("--opts", default="")).split()
    if any("=" not in word for word in words):
        raise pytest.UsageError(f"--opts takes KEY=VALUE, not {' '.join(words)!r}")
    options = dict(word.split("=", 1) for word in words)
    return Chosen(str(config.getoption("--driver", default="")), options, bool(config.getoption("--full", default=False)))
