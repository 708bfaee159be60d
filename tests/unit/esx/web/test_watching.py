"""Who watches gets the core's figures whole or not at all, and hears why it is not ready."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.errors import MetadataDamaged, NotFound, ServiceUnreachable
from vmdkvol.findings import FAIL, OK, WARN, Finding
from vmdkvol.frames import encode
from vmdkvol.messages import Call, Request
from vmdkvol.watch_messages import MetricsText, ReadMetrics, Vitals
from vmdkvol.wire import dump
from vmdkvol_esx.web.health import Health
from vmdkvol_esx.web.plain import Plain
from vmdkvol_esx.web.watching import Asking

SCRAPE = UUID(int=7)


def asking(*answers: object) -> tuple[Asking, list[Request[Any]]]:
    asked: list[Request[Any]] = []
    left: Iterator[object] = iter(answers)

    def ask(request: Request[Any], call: Call) -> Any:
        asked.append(request)
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Asking(ask, HandClock(), uuid4), asked


def test_the_parts_of_one_moment_are_put_together() -> None:
    made, asked = asking(MetricsText("a 1\n", SCRAPE, 1), MetricsText("b 2\n", SCRAPE, 2), MetricsText("c 3\n", SCRAPE))
    assert made.metrics() == "a 1\nb 2\nc 3\n"
    assert asked == [ReadMetrics(), ReadMetrics(scrape=SCRAPE, part=1), ReadMetrics(scrape=SCRAPE, part=2)]


def test_answers_that_go_through_as_they_came_are_read_here() -> None:
    part = MetricsText("a 1\n", SCRAPE)
    assert asking(Plain(encode(dump(part))))[0].metrics() == "a 1\n"
    vitals = Vitals(False, (Finding(FAIL, "hypervisor", "connection refused"),))
    assert asking(Plain(encode(dump(vitals))))[0].trouble() == "hypervisor: connection refused"


@pytest.mark.parametrize("error", [ServiceUnreachable("gone"), NotFound("these figures are not kept any more")])
def test_figures_that_break_off_are_none(error: Exception) -> None:
    made, _ = asking(MetricsText("a 1\n", SCRAPE, 1), error)
    with pytest.raises(type(error)):
        made.metrics()


def test_a_core_that_is_well_has_no_trouble() -> None:
    made, _ = asking(Vitals(True, (Finding(OK, "database", "writable"),)))
    assert made.trouble() == ""


def test_a_datastore_that_fails_leaves_the_core_ready() -> None:
    made, _ = asking(Vitals(True, (Finding(FAIL, "datastore ds1", "is read-only", "x"), Finding(OK, "database", "writable"))))
    assert made.trouble() == "ok; see /v1/health for 1 thing to look at"


def test_what_somebody_should_look_at_leaves_the_api_ready_and_is_not_told_to_strangers() -> None:
    made, _ = asking(Vitals(True, (Finding(WARN, "certificate of the REST API", "ends in 3 days", "x"),) * 2))
    ready, reasons = Health({"core": str, "work": made.trouble}).ready()
    assert (ready, reasons) == (True, {"core": "ok", "work": "ok; see /v1/health for 2 things to look at"})


def test_a_reason_that_begins_with_a_word_of_ours_is_a_reason() -> None:
    ready, _ = Health({"core": lambda: "ok is not what it is"}).ready()
    assert not ready


def test_what_failed_is_named() -> None:
    made, _ = asking(Vitals(False, (Finding(FAIL, "hypervisor", "connection refused"), Finding(OK, "database", "writable"))))
    assert made.trouble() == "hypervisor: connection refused"


@pytest.mark.parametrize("error", [ServiceUnreachable("gone"), MetadataDamaged("the database is damaged")])
def test_a_core_that_cannot_say_is_in_trouble(error: Exception) -> None:
    made, _ = asking(error)
    assert made.trouble() == str(error)
