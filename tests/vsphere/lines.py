"""A log that keeps its lines, for a test to read."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Lines:
    """Each line as its level, its event and its fields."""

    lines: list[str] = field(default_factory=list)

    def info(self, event: str, **fields: object) -> None:
        self.lines.append(f"info {event} {fields}")

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append(f"warning {event} {fields}")

    def error(self, event: str, **fields: object) -> None:
        self.lines.append(f"error {event} {fields}")
