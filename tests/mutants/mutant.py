"""A deliberate defect of the product, as a value; and the product with that defect in it."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

ROOT = Path(__file__).parents[2]
AGENT, ESX = "guest-agent/vmdkvol_guest", "esx-service/vmdkvol_esx"
# What a program of the copy may need; the rest of the tree (.git, .venv, caches) stays where it is.
_NEEDED = ("vmdkvol", "guest-agent", "esx-service", "packaging", "tests", "docs", "pyproject.toml", "README.md", "Makefile")


class By(StrEnum):
    """Who is expected to find a defect."""

    MACHINE = "state machine"
    # It lies in an adapter, for which the simulation has a double, or breaks what no invariant of I1 to I10 says.
    TESTS = "tests"


@dataclass(frozen=True, slots=True)
class Mutant:
    """In ``file``, ``old``, which stands there once, becomes ``new``.

    ``defect`` is what is wrong then, in a user's words; ``breaks`` the invariants of the promises that are at stake.
    ``tests`` are asked when the state machine finds nothing, or alone where it is not expected to.
    """

    id: str
    defect: str
    file: str
    old: str
    new: str
    breaks: tuple[str, ...]
    tests: tuple[str, ...]
    by: By = By.MACHINE

    @property
    def digest(self) -> str:
        """Tell one edit from another: a result is of the edit that was tried."""
        return hashlib.sha256("\0".join((self.file, self.old, self.new)).encode()).hexdigest()[:12]

    def mutated(self, root: Path = ROOT) -> str:
        """Return the text of ``file`` with the defect; ValueError if ``old`` does not stand there exactly once."""
        source = (root / self.file).read_text(encoding="utf-8")
        count = source.count(self.old)
        if count != 1:
            raise ValueError(f"{self.id}: what it replaces stands {count} times in {self.file}")
        return source.replace(self.old, self.new)


def copy_of_the_tree(target: Path) -> Path:
    """Copy the product and its tests to ``target``, which is made; return it."""
    target.mkdir()
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info", ".mypy_cache")
    for name in _NEEDED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=skipped)
        else:
            shutil.copy2(source, target / name)
    return target


def put_in(mutant: Mutant, root: Path) -> None:
    """Write the defect into the copy at ``root``."""
    (root / mutant.file).write_text(mutant.mutated(root), encoding="utf-8")
