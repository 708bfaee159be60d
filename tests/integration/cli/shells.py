"""A shell at a terminal, as who presses Tab has it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

# Of a machine that does much else.
_PATIENCE_S = 60.0
_READY = "ready> "
# What a terminal obeys: colours and places, modes, titles.
_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\x1b\][^\x07]*\x07|\x1b[()]B")
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "zsh": ("zsh", "-f", "-i"),
    "fish": ("fish", "--no-config", "--interactive"),
}
# How each takes its script: as `vmdkvol completion --help` says, or at once.
_SOURCE = {
    "bash": ". <(vmdkvol completion bash); PS1='ready''> '",
    "zsh": "autoload -U compinit; compinit -D; . <(vmdkvol completion zsh); unsetopt prompt_cr prompt_sp; PS1='ready''> '",
    "fish": "vmdkvol completion fish | source; function fish_prompt; echo -n 'ready''> '; end",
}


class Shell:
    """A shell that has its completions. ``close`` it."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._said = ""
        self._terminal, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        # setsid: without a terminal of its own no shell is interactive.
        command = ("setsid", "--ctty", *PROGRAMS[name])
        self._process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, cwd=folder, env=dict(environment))
        os.close(inner)
        self.type(_SOURCE[name] + "\n")
        self.until(_READY)

    def type(self, keys: str) -> None:
        """Type ``keys``; what was shown so far is forgotten."""
        self._said = ""
        os.write(self._terminal, keys.encode())

    def until(self, text: str, *, patience_s: float = _PATIENCE_S) -> str:
        """Return what is shown, without what a terminal obeys, as soon as ``text`` is in it; fail if that does not come."""
        end = time.monotonic() + patience_s
        while text not in self.shown:
            assert time.monotonic() < end, f"not within {patience_s:.0f} s: {text!r} in {self.shown!r}"
            if select.select([self._terminal], [], [], 0.1)[0]:
                self._said += os.read(self._terminal, 1 << 16).decode("utf-8", "replace")
        return self.shown

    @property
    def shown(self) -> str:
        return _CODES.sub("", self._said).replace("\r", "")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)


@contextlib.contextmanager
def shell(name: str, folder: Path, api: Path) -> Iterator[Shell]:
    """Yield a shell whose `vmdkvol` asks the API at the socket ``api``."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "VMDKVOL_API": f"unix://{api}",
        "LC_ALL": "C.UTF-8",
        "TERM": "xterm",
    }
    opened = Shell(name, folder, environment)
    try:
        yield opened
    finally:
        opened.close()
