"""Certificates and tokens: the statements, each inside its caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import bindparam, delete, insert, select, update

from vmdkvol.volume import VmId
from vmdkvol_esx.identities import Identity, Ticket
from vmdkvol_esx.store import schema
from vmdkvol_esx.store.schema import checked_row, checked_value
from vmdkvol_esx.store.statements import Statement, Transaction

# A token that is used after its end, or twice, is told from one that never was, for so long.
REMEMBERED_S = 30 * 86400.0

_ids, _tokens = schema.identities, schema.tokens
_IDENTITY = Statement(select(_ids).where(_ids.c.fingerprint == bindparam("key")))
_IDENTITIES = Statement(select(_ids).order_by(_ids.c.issued_at, _ids.c.fingerprint))
_OF_VM = Statement(select(_ids).where(_ids.c.vm == bindparam("whose")).order_by(_ids.c.issued_at, _ids.c.fingerprint))
_ADD = Statement(insert(_ids))
_CHANGE = Statement(update(_ids).where(_ids.c.fingerprint == bindparam("key")))
_FORGET_OTHERS = Statement(
    delete(_ids).where(_ids.c.vm == bindparam("whose"), _ids.c.fingerprint.not_in([bindparam("one"), bindparam("two")]))
)
_TICKET = Statement(select(_tokens).where(_tokens.c.hash == bindparam("key")))
_TICKETS = Statement(select(_tokens).order_by(_tokens.c.expires_at, _tokens.c.hash))
_TICKETS_OF = Statement(select(_tokens).where(_tokens.c.vm == bindparam("whose")).order_by(_tokens.c.expires_at))
_INVITE = Statement(insert(_tokens))
_USE = Statement(update(_tokens).where(_tokens.c.hash == bindparam("key")))
_FORGET_OLD = Statement(delete(_tokens).where(_tokens.c.expires_at < bindparam("before_then")))
_TAKE_BACK = Statement(delete(_tokens).where(_tokens.c.vm == bindparam("whose"), _tokens.c.used_at.is_(None)))


def identity(transaction: Transaction, fingerprint: str) -> Identity | None:
    row = transaction.first(_IDENTITY, key=fingerprint)
    return None if row is None else checked_value(Identity, row)


def identities(transaction: Transaction, vm: VmId | None) -> Sequence[Identity]:
    rows = transaction.all(_IDENTITIES) if vm is None else transaction.all(_OF_VM, whose=str(vm))
    return tuple(checked_value(Identity, row) for row in rows)


def ticket(transaction: Transaction, hash: str) -> Ticket | None:
    row = transaction.first(_TICKET, key=hash)
    return None if row is None else checked_value(Ticket, row)


def tickets(transaction: Transaction, vm: VmId | None) -> Sequence[Ticket]:
    rows = transaction.all(_TICKETS) if vm is None else transaction.all(_TICKETS_OF, whose=str(vm))
    return tuple(checked_value(Ticket, row) for row in rows)


def invite(transaction: Transaction, new: Ticket, now: float) -> None:
    transaction.change(_FORGET_OLD, before_then=now - REMEMBERED_S)
    # The older one went astray, or nobody would ask for another.
    transaction.change(_TAKE_BACK, whose=str(new.vm))
    transaction.change(_INVITE, **checked_row(new))


def enrol(transaction: Transaction, new: Identity, hash: str) -> bool:
    found = ticket(transaction, hash)
    if found is None or found.used_at is not None:
        return False
    _end(transaction, new.vm, new.issued_at)
    transaction.change(_USE, key=hash, **checked_row(replace(found, used_at=new.issued_at, used_for=new.request)))
    transaction.change(_ADD, **checked_row(new))
    return True


def renew(transaction: Transaction, new: Identity, keep: str) -> bool:
    kept = identity(transaction, keep)
    if kept is None or kept.vm != new.vm or kept.revoked_at is not None:
        return False
    transaction.change(_ADD, **checked_row(new))
    transaction.change(_FORGET_OTHERS, whose=str(new.vm), one=new.fingerprint, two=keep)
    return True


def revoke(transaction: Transaction, vm: VmId, now: float) -> int:
    taken_back = transaction.change(_TAKE_BACK, whose=str(vm))
    return _end(transaction, vm, now) + taken_back


def _end(transaction: Transaction, vm: VmId, now: float) -> int:
    standing = [each for each in identities(transaction, vm) if each.revoked_at is None]
    for each in standing:
        transaction.change(_CHANGE, key=each.fingerprint, **checked_row(replace(each, revoked_at=now)))
    return len(standing)


def adopt(transaction: Transaction, known: Sequence[Identity], invited: Sequence[Ticket]) -> None:
    transaction.change_many(_ADD, [checked_row(each) for each in known])
    transaction.change_many(_INVITE, [checked_row(each) for each in invited])
