"""The machine of the engine tests as it is seen by a process that is inside: commands are started directly.

A `docker` command that went through nsenter would cost the same on both sides, and hide a part of the difference.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.integration.engine.machine import Machine


class Here(Machine):
    """``root`` is the outer machine's. It ends with it: nothing is to be done here."""

    def start(self) -> None:
        """There is nothing to start: this process is inside already."""

    def end(self) -> None:
        """Everything ends with the outer machine."""

    def inside(self, argv: Sequence[str]) -> list[str]:
        return list(argv)

    def spawn(self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> int:
        with log.open("ab") as output:
            started = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.env, **(env or {})},
                cwd="/",
                start_new_session=True,
            )
        return started.pid

    def path(self, inside: str) -> Path:
        return Path(inside)
