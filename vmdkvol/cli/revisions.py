"""What ``--if-revision`` takes: which revision, and of which object, an order is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import click

from vmdkvol.errors import quoted

_MOST_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision of whatever has the name, or, with ``subject``, of the object of this id."""

    number: int
    subject: str | None = None


class _RevisionType(click.ParamType):  # type: ignore[type-arg]  # older ones of click are not generic
    name = "revision"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Revision:
        number, dot, subject = str(value).partition(".")
        try:
            if not number.isascii() or not number.isdigit() or len(number) > _MOST_DIGITS:
                raise ValueError(number)
            return Revision(int(number), str(UUID(subject)) if dot else None)
        except ValueError:
            self.fail(f"{quoted(str(value), 60)} is not NUMBER, or NUMBER.ID, as -o json shows revision and id", param, ctx)


REVISION = _RevisionType()
