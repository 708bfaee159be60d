"""Open pieces of work and stored answers: the statements, each inside its caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from vmdkvol.errors import StaleRequest, VolumeInUse, VolumeNotFound
from vmdkvol.volume import State, VmId, VolumeId
from vmdkvol_esx.records import Intent, VolumeRecord
from vmdkvol_esx.store import volumes
from vmdkvol_esx.store.schema import answers, intent_to_row, intents, row_to_intent

# How long a repeated call gets its first answer, and a closed intent keeps its id from being used again (F31).
KEPT_S = 24 * 3600.0

# Built once, as those of ``volumes``.
_KNOWN = select(intents.c.id).where(intents.c.id == bindparam("key"))
_INSERT = insert(intents)
_OPEN = (intents.c.id == bindparam("key"), intents.c.closed_at.is_(None))
_VOLUME = select(intents.c.volume).where(*_OPEN)
_NOTE = update(intents).where(*_OPEN)
_CLOSE = update(intents).where(intents.c.id == bindparam("key"))
_FORGET = delete(intents).where(intents.c.closed_at < bindparam("before_then"))
_OPEN_OF = select(intents).where(intents.c.closed_at.is_(None), intents.c.volume == bindparam("key"))
_ANSWER = select(answers.c.answer).where(
    answers.c.caller == bindparam("vm"), answers.c.call == bindparam("key"), answers.c.kept_at > bindparam("after")
)
_OLD_ANSWERS = delete(answers).where(answers.c.kept_at <= bindparam("until"))
_KEEP = insert(answers).on_conflict_do_nothing()


def begin(connection: Connection, intent: Intent, record: VolumeRecord) -> None:
    if intent.volume != record.id:
        raise StaleRequest(f"the intent is for volume {intent.volume}, the record for {record.id}", volume=str(record.id))
    if connection.execute(_KNOWN, {"key": str(intent.id)}).first() is not None:
        volumes.check_idle(connection, record.id)
        raise StaleRequest(f"volume {record.name}: this piece of work has ended already", volume=str(record.id))
    volumes.check_idle(connection, record.id)
    if record.generation != 1:
        volumes.check_generation(connection, record.id, record.generation - 1)
    elif volumes.fetch(connection, record.id) is not None:
        raise StaleRequest(f"volume {record.name} ({record.id}) is not new", volume=str(record.id))
    if intent.source is not None:
        _check_source(connection, intent.source)
    volumes.put(connection, record, volumes.next_change(connection))
    connection.execute(_INSERT, intent_to_row(intent))


def _check_source(connection: Connection, source: VolumeId) -> None:
    record = volumes.fetch(connection, source)
    if record is None or record.state in (State.TRASHED, State.REMOVING):
        name = source if record is None else record.name
        raise VolumeNotFound(f"volume {name}, the source of the clone, does not exist", volume=str(source))
    own = open_intent(connection, source)
    if record.state is not State.READY or own is not None:
        stands = f"is {record.state}" if own is None else f"has {type(own.change).__name__} under way"
        raise VolumeInUse(
            f"volume {record.name} {stands}; only a ready, unused volume is cloned",
            remedy="try again when it is ready",
            volume=str(source),
        )


def note_task(connection: Connection, intent: UUID, task: str) -> None:
    connection.execute(_NOTE, {"key": str(intent), "task": task})


def close(connection: Connection, intent: UUID, record: VolumeRecord | None, outcome: str, now: float) -> bool:
    """Close the intent and put ``record`` in place (None: away); False for one that is not open any more: it is left alone.

    ``finished`` wants the generation that ``begin`` stored; ``abandoned`` also takes the one before it.
    """
    row = connection.execute(_VOLUME, {"key": str(intent)}).first()
    if row is None:
        return False
    volume = VolumeId(UUID(row.volume))
    change = volumes.next_change(connection)
    if record is None:
        volumes.forget(connection, volume, change)
    else:
        _check_end(connection, volume, record, outcome)
        volumes.put(connection, record, change)
    connection.execute(_CLOSE, {"key": str(intent), "closed_at": now, "outcome": outcome})
    connection.execute(_FORGET, {"before_then": now - KEPT_S})
    return True


def _check_end(connection: Connection, volume: VolumeId, record: VolumeRecord, outcome: str) -> None:
    if record.id != volume:
        raise StaleRequest(f"the intent is for volume {volume}, the record for {record.id}", volume=str(volume))
    stored = volumes.fetch(connection, volume)
    allowed = set() if stored is None else {stored.generation}
    if stored is not None and outcome == "abandoned":
        # Nobody was told the raised generation of work that did not happen, so the record may go back whole.
        allowed.add(stored.generation - 1)
    if record.generation not in allowed:
        raise StaleRequest(
            f"volume {record.name}: the work was begun with another generation than {record.generation}", volume=str(volume)
        )


def open_intents(connection: Connection) -> Sequence[Intent]:
    query = select(intents).where(intents.c.closed_at.is_(None)).order_by(intents.c.opened_at, intents.c.id)
    return tuple(row_to_intent(row) for row in connection.execute(query).mappings())


def open_intent(connection: Connection, volume: VolumeId) -> Intent | None:
    row = connection.execute(_OPEN_OF, {"key": str(volume)}).mappings().first()
    return None if row is None else row_to_intent(row)


def stored_answer(connection: Connection, caller: VmId, call: UUID, now: float) -> bytes | None:
    found = connection.execute(_ANSWER, {"vm": str(caller), "key": str(call), "after": now - KEPT_S}).scalar()
    return None if found is None else bytes(found)


def keep_answer(connection: Connection, caller: VmId, call: UUID, answer: bytes, now: float) -> None:
    """Keep the answer; one that is there already stays, because it is what the caller may have been told."""
    connection.execute(_OLD_ANSWERS, {"until": now - KEPT_S})
    row = {"caller": str(caller), "call": str(call), "answer": answer, "kept_at": now}
    connection.execute(_KEEP, row)
