"""What whoever watches the service may ask of it: figures for Prometheus, and what is well and what is not. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from vmdkvol.findings import Finding
from vmdkvol.messages import Request
from vmdkvol.orders import Query


@dataclass(frozen=True, slots=True)
class MetricsText:
    """A part of the figures of one moment, ``scrape``, as Prometheus reads them. ``next`` is the ``part`` after it, or None."""

    text: str
    scrape: UUID
    next: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMetrics(Query[MetricsText]):
    """The figures as of now; further parts of one moment by its ``scrape``. NotFound for one that is not there any more."""

    scrape: UUID | None = None
    part: int = 0
    answer: ClassVar[type] = MetricsText


@dataclass(frozen=True, slots=True)
class Vitals:
    """``ready``: requests can be carried out. What is not well is among the ``findings``, with what to do about it."""

    ready: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadVitals(Query[Vitals]):
    """Whether the service can do its work, and whether somebody should look after it soon."""

    answer: ClassVar[type] = Vitals


WATCH_REQUESTS: tuple[type[Request[object]], ...] = (ReadMetrics, ReadVitals)
