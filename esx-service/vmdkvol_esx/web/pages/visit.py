"""One request for a page: who asks, what with, the core to ask, and what is to be seen in the end. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from vmdkvol.clock import Clock
from vmdkvol.errors import VolumeError
from vmdkvol.messages import Call, Request
from vmdkvol.orders import Actor, OrderFor, Query, Role
from vmdkvol.wire import dump
from vmdkvol_esx.web.pages.form import Form
from vmdkvol_esx.web.plain import Plain


@dataclass(frozen=True, slots=True)
class Drawn:
    """A page: its template and the values in it. ``refused``: the order for which it is the answer."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    refused: VolumeError | None = None


@dataclass(frozen=True, slots=True)
class Away:
    """Go on at another page of ours, which begins with ``said``."""

    to: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """A file, whole, for the reader to keep under ``name``."""

    text: str
    media: str
    name: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """In the place of an answer: why it is not known."""

    error: VolumeError


@dataclass(frozen=True, slots=True)
class Visit:
    """``by`` asks for ``path``. ``query`` are the parameters of the address, ``form`` what was sent, if anything was.

    ``put`` asks the core one message; ``call`` is the id of the request and its deadline.
    """

    by: Actor
    path: str
    query: Form
    form: Form
    call: Call
    clock: Clock
    put: Callable[[Any, Call], Any]
    new_id: Callable[[], UUID]

    def ask(self, message: Query[Any]) -> Any:
        """Return the core's answer as JSON has it, with the names of the message's own fields. Raises what the core raises."""
        return plain(self.put(replace(message, by=self.by), replace(self.call, id=self.new_id())))

    def try_ask(self, message: Query[Any]) -> Any:
        """As ``ask``; an Unknown where that raises: a part of a page says so, and the others are there."""
        try:
            return self.ask(message)
        except VolumeError as error:
            return Unknown(error)

    def order(
        self, message: OrderFor[Any], *, call: UUID, dry_run: bool, expect: int | None, expect_id: UUID | None = None
    ) -> Any:
        """Give the order and return its outcome as JSON has it. Raises what the core raises."""
        asked = replace(message, by=self.by, dry_run=dry_run, expect=expect, expect_id=expect_id)
        return plain(self.put(asked, replace(self.call, id=call)))

    def may(self, message: type[Request[Any]]) -> bool:
        """Tell whether the role of who asks covers this message. What it may in the end the core says."""
        needs = getattr(message, "needs", None)
        return needs is None or self.by.role.covers(needs)


@dataclass(frozen=True, slots=True)
class Page:
    """A row: what is seen at ``path``. ``<part>`` of a path is handed to ``show`` under its name.

    ``name`` is how it is called in the navigation, empty for what does not stand there, nor for whom it is not: ``needs``.
    """

    path: str
    show: Callable[..., Drawn | Away | Sent]
    name: str = ""
    needs: Role = Role.VIEWER


def plain(answer: Any) -> Any:
    """Return an answer as JSON has it."""
    return answer.body if isinstance(answer, Plain) else dump(answer)
