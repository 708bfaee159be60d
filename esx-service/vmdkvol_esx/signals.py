"""Being told to end, by a signal."""

from __future__ import annotations

import os
import signal
from select import select

from vmdkvol.clock import Clock, Deadline


class Told:
    """Signals as something to wait for, from now on; one that came before ``wait`` is not lost. For the main thread.

    The interpreter's own C handler writes to the pipe (``set_wakeup_fd``): it runs in whatever thread the kernel hands the
    signal to, while a handler in Python waits for the main thread, which nothing wakes if the kernel chose another one
    or the signal came just before ``read``. Seen: about one stop in forty was not heard.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self._numbers = frozenset(numbers)
        self._reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        for number in numbers:
            signal.signal(number, lambda *_: None)

    def wait(self) -> None:
        while os.read(self._reader, 1)[0] not in self._numbers:
            pass

    def within(self, clock: Clock, seconds: float) -> bool:
        """Wait for so long at most; tell whether one came."""
        deadline = Deadline.after(clock, seconds)
        while select([self._reader], (), (), deadline.left_s)[0]:
            if os.read(self._reader, 1)[0] in self._numbers:
                return True
        return False
