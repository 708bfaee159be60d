"""What is kept of an administrator's order as it begins: the object that it means, and who gave it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from vmdkvol import frames
from vmdkvol.errors import BadFrame
from vmdkvol.orders import OrderFor
from vmdkvol.volume import VmId
from vmdkvol_esx.repeats import plain, write

# Who asks on the admin socket: no machine, so no machine's id.
ADMINISTRATOR = VmId(UUID(int=0))


@dataclass(frozen=True, slots=True)
class Meant:
    """The ids of what an order names: ``subject`` is changed or made, ``to`` is the vmgroup that it goes to, ``vms`` its list
    of machines. None: there is no such.
    """

    subject: str | None = None
    to: str | None = None
    vms: tuple[str, ...] | None = None


def key(call: UUID) -> UUID:
    """Return the id under which it is kept, apart from the call's own, which is its answer's."""
    return uuid5(call, "begun")


def kept(order: OrderFor[Any], meant: Meant) -> bytes:
    """Return what is stored: ``meant_by`` finds it for the same order and for no other."""
    return write(order, [meant.subject, order.by.name, meant.to, None if meant.vms is None else list(meant.vms)])


def meant_by(order: OrderFor[Any], stored: bytes) -> Meant:
    """Return the objects' ids; StaleRequest if another order was begun, BadFrame for what ``kept`` did not make."""
    return _parts(plain(order, stored))[1]


def who(stored: bytes) -> str | None:
    """Return the name of who gave the order; None for what ``kept`` did not make."""
    try:
        return _parts(frames.parse(stored)["answer"])[0]
    except (BadFrame, KeyError, TypeError):
        return None


def _parts(data: Any) -> tuple[str, Meant]:
    match data:
        # Without machines: an older version kept it, within a day.
        case [subject, str(by), to]:
            return by, Meant(subject, to)
        case [subject, str(by), to, list() | None as vms]:
            return by, Meant(subject, to, None if vms is None else tuple(vms))
        case _:
            raise BadFrame("what was kept of this order cannot be read")
