"""Open pieces of work and stored answers: the statements, each inside its caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from vmdkvol.errors import StaleRequest, VolumeInUse, VolumeNotFound
from vmdkvol.names import DatastoreName
from vmdkvol.volume import State, VmId, VolumeId
from vmdkvol_esx.ledger import Ended
from vmdkvol_esx.records import Intent, VolumeRecord
from vmdkvol_esx.store import cordons, reserving, volumes
from vmdkvol_esx.store.schema import answers, intent_to_row, intents, row_to_intent
from vmdkvol_esx.store.statements import Row, Statement, Transaction

# How long a repeated call gets its first answer, and a closed intent keeps its id from being used again (F31).
KEPT_S = 24 * 3600.0
FINISHED, ABANDONED = "finished", "abandoned"

_KNOWN = Statement(select(intents.c.id).where(intents.c.id == bindparam("key")))
_BEGIN = Statement(insert(intents))
_OPEN = (intents.c.id == bindparam("key"), intents.c.closed_at.is_(None))
_VOLUME = Statement(select(intents.c.volume).where(*_OPEN))
_NOTE = Statement(update(intents).where(*_OPEN).values(task=bindparam("told")))
_CLOSE = Statement(
    update(intents).where(intents.c.id == bindparam("key")).values(closed_at=bindparam("now"), outcome=bindparam("end"))
)
_FORGET = Statement(delete(intents).where(intents.c.closed_at < bindparam("before_then")))
_ALL_OPEN = Statement(select(intents).where(intents.c.closed_at.is_(None)).order_by(intents.c.opened_at, intents.c.id))
_ENDED = (
    select(intents)
    .where(intents.c.closed_at > bindparam("after"))
    .order_by(intents.c.closed_at.desc(), intents.c.id)
    .limit(bindparam("most"))
)
_ALL_ENDED = Statement(_ENDED)
_ENDED_OF = Statement(_ENDED.where(intents.c.volume == bindparam("key")))
_ONE = Statement(select(intents).where(intents.c.id == bindparam("key")))
_OPEN_OF = Statement(select(intents).where(intents.c.closed_at.is_(None), intents.c.volume == bindparam("key")))
_ANSWER = Statement(
    select(answers.c.answer).where(
        answers.c.caller == bindparam("vm"), answers.c.call == bindparam("key"), answers.c.kept_at > bindparam("after")
    )
)
_OLD_ANSWERS = Statement(delete(answers).where(answers.c.kept_at <= bindparam("until")))
_KEEP = Statement(insert(answers).on_conflict_do_nothing())


def begin(
    transaction: Transaction, intent: Intent, record: VolumeRecord, home: DatastoreName | None, *, over_quota: bool
) -> None:
    if intent.volume != record.id:
        raise StaleRequest(f"the intent is for volume {intent.volume}, the record for {record.id}", volume=str(record.id))
    if transaction.first(_KNOWN, key=str(intent.id)) is not None:
        volumes.check_idle(transaction, record.id)
        raise StaleRequest(f"volume {record.name}: this piece of work has ended already", volume=str(record.id))
    volumes.check_idle(transaction, record.id)
    if record.generation != 1:
        volumes.check_generation(transaction, record.id, record.generation - 1)
    elif volumes.fetch(transaction, record.id) is not None:
        raise StaleRequest(f"volume {record.name} ({record.id}) is not new", volume=str(record.id))
    if intent.source is not None:
        _check_source(transaction, intent.source, record)
    added = reserving.added_bytes(transaction, record)
    volumes.put(transaction, record, volumes.next_change(transaction))
    if not (over_quota and intent.caller is None):
        reserving.check_begun(transaction, intent, record, added, home)
    cordons.check_open(transaction, intent, record)
    transaction.change(_BEGIN, **intent_to_row(intent), closed_at=None, outcome=None)


def enlist(transaction: Transaction, record: VolumeRecord, *, over_quota: bool) -> None:
    """See ``ports.Store.enlist``: there is nothing to be done for it, so no work is opened."""
    if volumes.fetch(transaction, record.id) is not None:
        raise StaleRequest(f"volume {record.name} ({record.id}) is not new", volume=str(record.id))
    volumes.put(transaction, record, volumes.next_change(transaction))
    if not over_quota:
        reserving.check_taken_in(transaction, record, None)
    cordons.check_not_cordoned(transaction, record)


def regroup(transaction: Transaction, record: VolumeRecord, expect: int, *, over_quota: bool) -> None:
    """See ``Tenants.regroup``."""
    before = volumes.fetch(transaction, record.id)
    change = volumes.next_change(transaction)
    volumes.replace(transaction, record, expect, change)
    if before is None or before.vmgroup == record.vmgroup:
        return
    volumes.note_gone(transaction, record.id, str(before.vmgroup), change)
    if not over_quota:
        reserving.check_taken_in(transaction, record, record.datastore)


def _check_source(transaction: Transaction, source: VolumeId, clone: VolumeRecord) -> None:
    record = volumes.fetch(transaction, source)
    if record is not None and record.vmgroup != clone.vmgroup:
        # Another vmgroup's volume does not exist for this one, and has no name here.
        record = None
    if record is None or record.state in (State.TRASHED, State.REMOVING):
        name = source if record is None else record.name
        raise VolumeNotFound(f"volume {name}, the source of the clone, does not exist", volume=str(source))
    own = open_intent(transaction, source)
    if record.state is not State.READY or own is not None:
        stands = f"is {record.state}" if own is None else f"has {type(own.change).__name__} under way"
        raise VolumeInUse(
            f"volume {record.name} {stands}; only a ready, unused volume is cloned",
            remedy="try again when it is ready",
            volume=str(source),
        )


def note_task(transaction: Transaction, intent: UUID, task: str) -> None:
    transaction.change(_NOTE, key=str(intent), told=task)


def close(transaction: Transaction, intent: UUID, record: VolumeRecord | None, outcome: str, now: float) -> bool:
    """Close the intent and put ``record`` in place (None: away); False for one that is not open any more: it is left alone.

    ``finished`` wants the generation that ``begin`` stored; ``abandoned`` also takes the one before it.
    """
    row = transaction.first(_VOLUME, key=str(intent))
    if row is None:
        return False
    volume = VolumeId(UUID(row["volume"]))
    change = volumes.next_change(transaction)
    if record is None:
        volumes.forget(transaction, volume, change)
    else:
        _check_end(transaction, volume, record, outcome)
        volumes.put(transaction, record, change)
    transaction.change(_CLOSE, key=str(intent), now=now, end=outcome)
    transaction.change(_FORGET, before_then=now - KEPT_S)
    return True


def _check_end(transaction: Transaction, volume: VolumeId, record: VolumeRecord, outcome: str) -> None:
    if record.id != volume:
        raise StaleRequest(f"the intent is for volume {volume}, the record for {record.id}", volume=str(volume))
    stored = volumes.fetch(transaction, volume)
    allowed = set() if stored is None else {stored.generation}
    if stored is not None and outcome == ABANDONED:
        # Nobody was told the raised generation of work that did not happen, so the record may go back whole.
        allowed.add(stored.generation - 1)
    if record.generation not in allowed:
        raise StaleRequest(
            f"volume {record.name}: the work was begun with another generation than {record.generation}", volume=str(volume)
        )


def open_intents(transaction: Transaction) -> Sequence[Intent]:
    return tuple(row_to_intent(row) for row in transaction.all(_ALL_OPEN))


def open_intent(transaction: Transaction, volume: VolumeId) -> Intent | None:
    row = transaction.first(_OPEN_OF, key=str(volume))
    return None if row is None else row_to_intent(row)


def ended(transaction: Transaction, volume: VolumeId | None, limit: int, now: float) -> Sequence[Ended]:
    if volume is None:
        rows = transaction.all(_ALL_ENDED, after=now - KEPT_S, most=limit)
    else:
        rows = transaction.all(_ENDED_OF, after=now - KEPT_S, most=limit, key=str(volume))
    return tuple(_ended(row) for row in rows)


def work(transaction: Transaction, intent: UUID, now: float) -> Intent | Ended | None:
    row = transaction.first(_ONE, key=str(intent))
    if row is None or (row["closed_at"] is not None and row["closed_at"] <= now - KEPT_S):
        return None
    return row_to_intent(row) if row["closed_at"] is None else _ended(row)


def _ended(row: Row) -> Ended:
    return Ended(row_to_intent(row), row["closed_at"], row["outcome"] == FINISHED)


def stored_answer(transaction: Transaction, caller: VmId, call: UUID, now: float) -> bytes | None:
    row = transaction.first(_ANSWER, vm=str(caller), key=str(call), after=now - KEPT_S)
    return None if row is None else bytes(row["answer"])


def keep_answer(transaction: Transaction, caller: VmId, call: UUID, answer: bytes, now: float) -> None:
    """Keep the answer; one that is there already stays, because it is what the caller may have been told."""
    transaction.change(_OLD_ANSWERS, until=now - KEPT_S)
    transaction.change(_KEEP, caller=str(caller), call=str(call), answer=answer, kept_at=now)
