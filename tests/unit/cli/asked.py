"""The command line in this process, against an API that answers what a test says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.small_api import Answer, Asked, SmallApi
from vmdkvol.cli.main import cli
from vmdkvol.command import run


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


class Terminal:
    """Runs commands; ``asked`` is what they asked of the API since the last ``answers``."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._path = path / "web.sock"
        self._capsys = capsys
        self._api: SmallApi | None = None

    def answers(self, *answers: Answer) -> Terminal:
        self.stop()
        self._api = SmallApi(self._path, list(answers))
        return self

    @property
    def asked(self) -> list[Asked]:
        assert self._api is not None
        return self._api.asked

    def run(self, *command: str) -> Said:
        code = run(cli, "vmdkvol", [*command, "--api", f"unix://{self._path}"])
        return Said(code, *self._capsys.readouterr())

    def stop(self) -> None:
        if self._api is not None:
            self._api.stop()
            self._path.unlink(missing_ok=True)
            self._api = None


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    made = Terminal(tmp_path, capsys)
    yield made
    made.stop()


def outcome(*verbs: str, loses: str | None = None, revision: int | None = 2, **more: Any) -> dict[str, Any]:
    """Return an order's answer whose plan has a step for each verb."""
    steps = [{"verb": verb, "target": "prod", "before": None, "after": None} for verb in verbs]
    plan = {"steps": steps, "loses": loses}
    return {"plan": plan, "done": True, "subject": "", "revision": revision, "task": None, **more}
