"""QEMU's own protocol (docs/interop/qmp-spec of QEMU 7.2): commands to a running virtual machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.system.lines import Gone, JsonLines, Message

ASK_S = 60.0


class Refused(Exception):
    """QEMU said no; the text is its own."""


class Qmp:
    """A monitor of a running QEMU. Each of its sockets serves one connection at a time."""

    def __init__(self, path: Path, timeout_s: float = ASK_S) -> None:
        self._lines = JsonLines(path, timeout_s)
        self.do("qmp_capabilities")

    def do(self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout_s: float = ASK_S) -> Any:
        """Return what the command answers. Refused if it is, Gone if QEMU is."""
        answer = self._lines.ask({"execute": command, "arguments": arguments or {}}, timeout_s)
        if "error" in answer:
            raise Refused(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    def monitor(self, line: str, timeout_s: float = 120.0) -> str:
        """Carry out a line for people; what it writes is an error for some of them, and nothing at all means done."""
        return str(self.do("human-monitor-command", {"command-line": line}, timeout_s=timeout_s))

    def told(self) -> int:
        return self._lines.told()

    def wait(self, event: str, since: int, timeout_s: float = ASK_S, **data: Any) -> Message:
        """Return the first event of this name, with these data, from number ``since`` on."""

        def fits(news: Message) -> bool:
            return news.get("event") == event and data.items() <= news.get("data", {}).items()

        return self._lines.wait(fits, since, timeout_s, f"{event} {data or ''}")

    def close(self) -> None:
        self._lines.close()


def answers(path: Path, timeout_s: float = 1.0) -> bool:
    """Tell whether a QEMU answers there."""
    try:
        Qmp(path, timeout_s).close()
    except (Gone, Refused):
        return False
    return True
