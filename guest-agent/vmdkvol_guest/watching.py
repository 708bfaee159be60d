"""What the agent is watched by, put together: its figures, whether it lives, whether it is ready. Loaded only if wanted."""

from __future__ import annotations

from collections.abc import Callable

from vmdkvol import __version__, logs
from vmdkvol.addresses import parse_address
from vmdkvol.clock import Clock, Deadline
from vmdkvol.line import Line
from vmdkvol.messages import NEWEST_VERSION
from vmdkvol_guest.figures import Figures
from vmdkvol_guest.scraping import METRICS, TEXT, Scraping

_STOP_S = 2.0


class Watching:
    """Of one worker."""

    def __init__(self, address: str, line: Line, clock: Clock, acting: Callable[[], bool]) -> None:
        """``acting`` tells whether this worker may mount: it is alone on this host."""
        self.figures = Figures(clock, version=__version__, protocol=NEWEST_VERSION, up=lambda: line.up)
        self._clock = clock
        self._line = line
        self._acting = acting
        pages = {
            "/metrics": (METRICS, lambda: (200, self.figures.render())),
            "/livez": (TEXT, lambda: (200, "ok\n")),
            "/readyz": (TEXT, self._ready),
        }
        self._scraping = Scraping(parse_address(address), pages, clock, logs.get("figures"))

    def start(self) -> None:
        self._scraping.start()

    def stop(self) -> None:
        self._scraping.stop(Deadline.after(self._clock, _STOP_S))

    def _ready(self) -> tuple[int, str]:
        if not self._acting():
            return 503, "another agent is still on this host\n"
        return (200, "ok\n") if self._line.up else (503, f"{self._line.trouble}\n")
