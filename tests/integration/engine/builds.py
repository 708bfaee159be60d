"""Which Docker engine a test runs: this machine's own, or a newer one that lies unpacked beside it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_CACHE = Path(__file__).parents[3] / ".cache" / "engines"
# Where Debian puts the engine; a user's PATH need not have all of it.
_SYSTEM = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


@dataclass(frozen=True, slots=True)
class Build:
    """``tree`` is the root of unpacked packages, None for what is installed. What it lacks (runc) is the machine's."""

    name: str
    tree: Path | None = None

    @property
    def path(self) -> str:
        """Return the PATH with which its programs find each other."""
        # What is installed goes by the user's own PATH, as `make demo` does.
        own = () if self.tree is None else (f"{self.tree}/usr/bin", f"{self.tree}/usr/sbin")
        return ":".join((*own, os.environ.get("PATH", ""), *_SYSTEM))

    @property
    def env(self) -> Mapping[str, str]:
        return {"PATH": self.path}

    def program(self, name: str) -> str:
        """Return where a program of the engine lies; AssertionError, with what to do, if it is not there."""
        if self.tree is not None and not (self.tree / "complete").exists():
            raise AssertionError(f"the engine {self.name} is not in {self.tree}: run `make engines` once")
        found = shutil.which(name, path=self.path)
        if found is None:
            raise AssertionError(f"{name} is missing: run `make bootstrap`")
        return found


OWN = Build("installed")
# packaging/dev/engines.sh fetches it; the link is to the version that is there.
NEXT = Build("next", _CACHE / "trixie")
