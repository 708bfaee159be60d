"""What the core says of itself to whoever watches: its figures, and why it is not ready. Pure: how it is asked is handed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import VolumeError
from vmdkvol.findings import FAIL, OK
from vmdkvol.messages import Call, Request
from vmdkvol.watch_messages import MetricsText, ReadMetrics, ReadVitals, Vitals
from vmdkvol.wire import read_answer
from vmdkvol_esx.web.health import well
from vmdkvol_esx.web.plain import Plain

# Prometheus gives up after ten seconds, a load balancer's probe sooner.
METRICS_S, VITALS_S = 9.0, 4.0


class Asking:
    """For any thread."""

    def __init__(self, ask: Callable[[Request[Any], Call], Any], clock: Clock, new_id: Callable[[], UUID]) -> None:
        self._ask = ask
        self._clock = clock
        self._new_id = new_id

    def metrics(self) -> str:
        """Return the core's figures of one moment, whole. Raises what asking raises: half of them would look like all."""
        deadline = Deadline.after(self._clock, METRICS_S)
        part: MetricsText = self._answer(ReadMetrics(), deadline)
        texts = [part.text]
        while part.next is not None:
            part = self._answer(ReadMetrics(scrape=part.scrape, part=part.next), deadline)
            texts.append(part.text)
        return "".join(texts)

    def trouble(self) -> str:
        """Return why the core cannot do its work; if it can, nothing, or that there is something to look at (``well``)."""
        try:
            vitals: Vitals = self._answer(ReadVitals(), Deadline.after(self._clock, VITALS_S))
        except VolumeError as error:
            return str(error)
        if not vitals.ready:
            return "; ".join(f"{each.check}: {each.finding}" for each in vitals.findings if each.status == FAIL)
        return well(sum(each.status != OK for each in vitals.findings))

    def _answer(self, request: Request[Any], deadline: Deadline) -> Any:
        answer = self._ask(request, Call(self._new_id(), deadline))
        return read_answer(request, answer.body) if isinstance(answer, Plain) else answer
