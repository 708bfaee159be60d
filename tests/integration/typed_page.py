"""A page of the documents whose commands are typed, and the machines that do something in between."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.daemons.web_process import WebProcess
from tests.integration.api_site import ApiSite
from tests.integration.identity_site import CLOCK, ask
from tests.reference import DOCS
from vmdkvol.addresses import UnixAddress
from vmdkvol.line import Line
from vmdkvol.messages import CreateVolume, ListVolumes
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import VolumeInfo


class Page:
    """The blocks of a page, one after the other."""

    def __init__(self, name: str, site: ApiSite | WebProcess) -> None:
        text = (DOCS / "how-to" / name).read_text(encoding="utf-8")
        self._left = iter(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
        self._screens = iter(re.findall(r"```text\n(.*?)```", text, re.DOTALL))
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VMDKVOL_API": f"unix://{site.socket}" if isinstance(site, ApiSite) else site.address,
        }

    def next(self, code: int = 0) -> str:
        """Type the next block, which ends with this exit code; return all that is said."""
        block = next(self._left)
        done = subprocess.run(
            ["bash", "-euc", block], env=self._environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, f"{block}\n{done.stderr}"
        return done.stdout + done.stderr

    def shows(self, said: str) -> None:
        """What was said is the next screen of the page, but for what differs each time: ids, times, how much is free."""
        assert _steady(said) == _steady(next(self._screens)), said

    def begins(self, said: str) -> None:
        """What was said begins with the next screen."""
        assert _steady(said).startswith(_steady(next(self._screens))), said

    def ended(self) -> bool:
        """Tell whether every block was typed and every screen was seen."""
        return next(self._left, None) is None and next(self._screens, None) is None


# Each stands for all of its kind; a table's columns follow the widest, and a page folds long lines, so that blanks count once.
_CHANGING = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+:\d]*"), "TIME"),
    (re.compile(r"(free on \S+:) [\d.]+[kmgtp]?b"), r"\1 SIZE"),
    (re.compile(r"\s+"), " "),
)


def _steady(text: str) -> str:
    for pattern, word in _CHANGING:
        text = pattern.sub(word, text)
    return text.strip()


def machine(site: ApiSite, name: str) -> Line:
    return Line(UnixAddress(site.root / f"{name}.sock"), CLOCK, agent="test", boot_id=name, first_pause_s=0.01).start()


def create(line: Line, name: str, **options: str) -> VolumeInfo:
    return ask(line, CreateVolume(VolumeRef.parse(name), CreateOptions.parse(options)))


def names(line: Line) -> list[str]:
    return sorted(each.name for each in ask(line, ListVolumes()).volumes)
