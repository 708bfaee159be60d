"""What is kept of an administrator's order as it begins: the object that it means, and who gave it. Pure."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

from vmdkvol import frames
from vmdkvol.errors import BadFrame
from vmdkvol.orders import OrderFor
from vmdkvol.volume import VmId
from vmdkvol_esx.repeats import plain, write

# Who asks on the admin socket: no machine, so no machine's id.
ADMINISTRATOR = VmId(UUID(int=0))


def key(call: UUID) -> UUID:
    """Return the id under which it is kept, apart from the call's own, which is its answer's."""
    return uuid5(call, "begun")


def kept(order: OrderFor[Any], subject: str | None) -> bytes:
    """Return what is stored: ``subject_of`` finds it for the same order and for no other."""
    return write(order, [subject, order.by.name])


def subject_of(order: OrderFor[Any], stored: bytes) -> str | None:
    """Return the object's id; StaleRequest if another order was begun, BadFrame for what ``kept`` did not make."""
    return _parts(plain(order, stored))[0]


def who(stored: bytes) -> str | None:
    """Return the name of who gave the order; None for what ``kept`` did not make."""
    try:
        return _parts(frames.parse(stored)["answer"])[1]
    except (BadFrame, KeyError, TypeError):
        return None


def _parts(data: Any) -> tuple[str | None, str]:
    if not isinstance(data, list) or len(data) != 2 or not isinstance(data[1], str):
        raise BadFrame("what was kept of this order cannot be read")
    return data[0], data[1]
