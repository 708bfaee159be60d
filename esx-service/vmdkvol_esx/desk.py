"""What administrators ask comes in with who asks: may they, is it a repeat, who hears of it; the nouns' own code does it.

Every order, dry run and refusal is told to the audit, a repeat of an answered order is not: nothing happened.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from vmdkvol.admin_errors import KeyReused
from vmdkvol.clock import Clock
from vmdkvol.errors import BadFrame, Busy, MetadataDamaged, NotPermitted, StaleRequest, VolumeError, one_line
from vmdkvol.messages import Call, Request
from vmdkvol.orders import Actor, Order, OrderFor, Outcome, Plan, Query, Role
from vmdkvol.volume import VmId
from vmdkvol_esx import begun
from vmdkvol_esx.begun import ADMINISTRATOR, Meant
from vmdkvol_esx.callers import Caller, Proof, require_root
from vmdkvol_esx.deeds import DRY_RUN
from vmdkvol_esx.ports import Audit, Log
from vmdkvol_esx.records import AuditRecord
from vmdkvol_esx.remedies import for_administrators
from vmdkvol_esx.repeats import REFUSALS, Refused, plain, read, write

# (message, call) -> answer; ``message.by`` is who asks.
Handle = Callable[[Any, Call], Any]

DONE, STARTED = "done", "started"
# A secret answer is there for who lost it on its way, and for no longer.
_SECRET_S = 600.0
# A copy of a refused order that comes late, or a second click, hears the refusal. After that it is a person who tries again,
# since what stood against it is gone: a page has the same key until its plan is made anew.
REFUSED_S = 30.0
_SECRETS = 100
# Of the workers that administrators' queries have (``crew``), the others are for what takes a moment.
MOST_SLOW = 2
# Of these, viewers together: who may only look keeps nobody from looking who has something to put right.
MOST_SLOW_OF_VIEWERS = 1
_COMMON = frozenset(each.name for each in fields(Order))
_WORD = re.compile(r"[\w@./:+-]{1,200}")
# A word, or a list of words or of pairs of them.
_VALUE = re.compile(r"[\w@./:+,=-]{1,400}")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Means(Protocol):
    """Which object an order is for; see ``meaning``."""

    def expected(self, order: OrderFor[Any]) -> Meant: ...
    def digest(self, order: OrderFor[Any], meant: Meant) -> str | None: ...
    def bound(self, order: OrderFor[Any], meant: Meant) -> OrderFor[Any]: ...
    def is_gone(self, order: OrderFor[Any], subject: str | None) -> bool: ...


class Answers(Protocol):
    """The part of ``ports.Store`` that keeps what calls were answered."""

    def stored_answer(self, caller: VmId, call: UUID) -> bytes | None: ...
    def keep_answer(self, caller: VmId, call: UUID, answer: bytes) -> None: ...


def identify(proof: Proof, _: object) -> Caller:
    """Return the administrator; UnknownCaller unless it is root who asks."""
    require_root(proof.uid)
    return Caller(ADMINISTRATOR, "administrator")


class Desk:
    """For any thread."""

    def __init__(
        self,
        rows: Mapping[type[Request[Any]], Handle],
        store: Answers,
        audit: Audit,
        clock: Clock,
        log: Log,
        meaning: Means,
    ) -> None:
        """``rows`` has what each message is answered by."""
        self._rows = rows
        self._store = store
        self._audit = audit
        self._clock = clock
        self._log = log
        self._meaning = meaning
        self._refused = Refused(clock.monotonic, REFUSED_S)
        self._secrets: OrderedDict[UUID, tuple[float, object]] = OrderedDict()
        self._state = clock.condition()
        self._slow = 0
        self._slow_of_viewers = 0

    def answer(self, request: Request[Any], call: Call) -> Any:
        """Return the answer of the class that the request names, or raise the VolumeError that is the answer.

        NotPermitted unless the role of who asks covers what the message needs. An order with the id of one that was
        answered gets that answer again, for 24 hours, a refused one its refusal for ``REFUSED_S``; KeyReused if it is another.
        One whose answer was lost with the process is carried out again, on the same object, whatever has its name by now.
        A dry run is no repeat of anything, and nothing is one of it. Busy for one more slow query than are answered at a time.
        """
        row = self._rows.get(type(request))
        if row is None or not isinstance(request, Query | OrderFor):
            raise BadFrame(f"{type(request).__name__} is not for administrators")
        if not request.by.role.covers(request.needs):
            error = _not_permitted(request.by, verb(request), request.needs)
            self._note(request, call, error.code, str(error))
            raise error
        if isinstance(request, Query):
            return self._slowly(row, request, call) if request.slow else row(request, call)
        return self._carry_out(partial(self._plan, row), request, call) if request.dry_run else self._order(row, request, call)

    def _slowly(self, row: Handle, request: Query[Any], call: Call) -> Any:
        """Administrators have few workers: what looks for minutes must not keep from all of them what takes a moment."""
        of_viewers = int(request.by.role is Role.VIEWER)
        with self._state:
            if self._slow_of_viewers + of_viewers > MOST_SLOW_OF_VIEWERS:
                raise Busy(
                    "a viewer's long look at disks is under way, and the other place is for those who may do more",
                    remedy="wait until it has ended, then ask again",
                )
            if self._slow >= MOST_SLOW:
                raise Busy(
                    f"{MOST_SLOW} long looks at disks are under way (a scan, orphans, how policies are complied with)",
                    remedy="wait until one of them has ended, then ask again",
                )
            self._slow += 1
            self._slow_of_viewers += of_viewers
        try:
            return row(request, call)
        finally:
            with self._state:
                self._slow -= 1
                self._slow_of_viewers -= of_viewers

    def _order(self, row: Handle, request: OrderFor[Any], call: Call) -> Any:
        # The same administrator asks again from wherever; what it may do was looked at just now.
        asked = replace(request, by=Actor(request.by.name, Role.ADMIN, ""))
        try:
            self._refused.check(ADMINISTRATOR, call.id, asked)
            stored = self._store.stored_answer(ADMINISTRATOR, call.id)
            if stored is not None:
                return self._again(asked, call.id, stored)
            mark = self._store.stored_answer(ADMINISTRATOR, begun.key(call.id))
            known = None if mark is None else begun.meant_by(asked, mark)
        except StaleRequest as error:
            raise KeyReused("another order was given with this key", remedy="give each order a key of its own") from error
        try:
            answer = self._carry_out(partial(self._once, row, asked, known), request, call)
        except REFUSALS as error:
            self._refused.keep(ADMINISTRATOR, call.id, asked, error)
            raise
        self._keep(asked, call.id, answer)
        return answer

    def _plan(self, row: Handle, request: OrderFor[Any], call: Call) -> Any:
        meant = self._meaning.expected(request)
        answer, digest = row(self._meaning.bound(request, meant), call), self._meaning.digest(request, meant)
        if digest is None or not isinstance(answer, Outcome):
            return answer
        return replace(answer, plan=replace(answer.plan, digest=digest))

    def _once(self, row: Handle, asked: OrderFor[Any], known: Meant | None, request: OrderFor[Any], call: Call) -> Any:
        """Carry out the order on what it meant when it came first, also when the service died under it (``known``).

        What it was to do may have been done then, and have raised the revision that it expects: what holds is a success.
        """
        if known is None:
            meant = self._meaning.expected(request)
            self._store.keep_answer(ADMINISTRATOR, begun.key(call.id), begun.kept(asked, meant))
            return row(self._meaning.bound(request, meant), call)
        if self._meaning.is_gone(request, known.subject):
            return Outcome(Plan(), True, known.subject or "")
        bound = self._meaning.bound(request, known)
        try:
            return row(bound, call)
        except StaleRequest:
            held = row(replace(bound, dry_run=True, expect=None), call)
            if isinstance(held, Outcome) and not held.plan.steps:
                return replace(held, done=True)
            raise

    def _carry_out(self, row: Handle, request: OrderFor[Any], call: Call) -> Any:
        try:
            answer = row(request, call)
        except VolumeError as error:
            told = for_administrators(request, error)
            self._note(request, call, told.code, str(told))
            if told is error:
                raise
            raise told from error
        except Exception as error:
            self._note(request, call, "internal", type(error).__name__)
            raise
        result = _result(request, answer)
        # By which the record of its end is found.
        self._note(request, call, result, f"operation={answer.task}" if result == STARTED else "")
        return answer

    def _again(self, asked: OrderFor[Any], call: UUID, stored: bytes) -> Any:
        if not asked.secret:
            return read(asked, stored)
        plain(asked, stored)
        at, answer = self._secrets.get(call, (None, None))
        if at is None or self._clock.monotonic() - at > _SECRET_S:
            raise KeyReused("this order was answered, and its answer is a secret that is not kept", remedy="give it anew")
        return answer

    def _keep(self, asked: OrderFor[Any], call: UUID, answer: object) -> None:
        if asked.secret:
            self._secrets[call] = (self._clock.monotonic(), answer)
            while len(self._secrets) > _SECRETS:
                self._secrets.popitem(last=False)
        try:
            # That it was answered is kept of a secret one too: a late copy must not take the place of what somebody has.
            self._store.keep_answer(ADMINISTRATOR, call, write(asked, None if asked.secret else answer))
        except VolumeError as error:
            # The work is done and a repeat of it is harmless; only its answer may be another one.
            self._log.warning("answer not kept", request=type(asked).__name__, call=str(call), error=str(error))

    def _note(self, request: Query[Any] | OrderFor[Any], call: Call, result: str, trouble: str) -> None:
        said, by = _said(request), request.by
        # Quoted unless it is a word: no name reads as another field.
        words = [f"{name}={value if _VALUE.fullmatch(value) else repr(value)}" for name, value in said.items()]
        detail = " ".join([*words, *([trouble] if trouble else [])])
        target = next(iter(said.values()), "")
        at, role = self._clock.wall(), by.role.value
        self._audit.note(AuditRecord(at, by.name, role, by.source, verb(request), target, result, call.id, detail))


def refuse_all(damage: MetadataDamaged) -> Callable[[Request[Any], Call], Any]:
    """Return what answers administrators while the database cannot be used: it says so."""

    def answer(request: Request[Any], call: Call) -> Any:
        raise MetadataDamaged(f"the service's database cannot be used: {damage.text}", remedy=damage.remedy)

    return answer


def verb(request: Request[Any]) -> str:
    """Return what the audit calls this message: ``revoke-vm``."""
    return _WORDS.sub("-", type(request).__name__).lower()


def _said(request: Query[Any] | OrderFor[Any]) -> dict[str, str]:
    """Return what stands in the message beside what all have, as text; nothing secret, and not what is empty."""
    given = {each.name: getattr(request, each.name) for each in fields(request) if each.name not in _COMMON and each.repr}
    return {name: _text(value) for name, value in given.items() if value not in (None, "", ())}


def _text(value: object) -> str:
    """Return a value as people write it: ``a,b`` and ``size=10mb,access=read-only``, not as Python does."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple) and value and all(isinstance(each, tuple) and len(each) == 2 for each in value):
        return ",".join(f"{_word(name)}={_word(each)}" for name, each in value)
    if isinstance(value, tuple | frozenset):
        return ",".join(map(_word, value if isinstance(value, tuple) else sorted(value, key=str)))
    return str(value)


def _word(value: object) -> str:
    """Return a part of a list, quoted unless it is a word: no name reads as two."""
    text = _text(value)
    return text if _WORD.fullmatch(text) else repr(text)


def _result(request: OrderFor[Any], answer: object) -> str:
    if request.dry_run:
        return DRY_RUN
    return STARTED if isinstance(answer, Outcome) and not answer.done and answer.task is not None else DONE


def _not_permitted(by: Actor, what: str, needed: Role) -> NotPermitted:
    return NotPermitted(f"{one_line(by.name, 60)} has the role {by.role}, and {what} needs {needed}")
