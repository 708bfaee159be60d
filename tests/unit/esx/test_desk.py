"""The desk of the administrators: who may, what a repeat is answered, who hears of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from uuid import UUID

import pytest

from tests.doubles.hand_clock import HandClock
from tests.unit.esx.admin_site import meaning
from tests.unit.esx.site import Kept
from vmdkvol.admin_errors import KeyReused
from vmdkvol.adoption_messages import ScanDisks
from vmdkvol.audit_messages import ExportAudit, QueryAudit
from vmdkvol.clock import Deadline
from vmdkvol.errors import BadFrame, Busy, Conflict, MetadataDamaged, NoSpace, NotPermitted, StillWorking, TruthUnknown
from vmdkvol.messages import Call, ListAttached, Request
from vmdkvol.orders import ROOT, Actor, Order, OrderFor, Outcome, Plan, Query, Role, Step
from vmdkvol.orphan_messages import ListOrphans
from vmdkvol.policy_messages import GetPolicy, ListPolicies, ListPolicyVolumes
from vmdkvol.vmgroup_messages import AddMembers
from vmdkvol.volume_orders import CreateVolumeFor
from vmdkvol_esx.begun import ADMINISTRATOR, Meant
from vmdkvol_esx.crew import WORKERS, Kind
from vmdkvol_esx.desk import MOST_SLOW, REFUSED_S, Desk, refuse_all
from vmdkvol_esx.records import AuditRecord
from vmdkvol_esx.store import SqlStore, open_store

ONE, TWO = UUID(int=1), UUID(int=2)
ANN = Actor("ann", Role.OPERATOR, "192.0.2.7")


@dataclass(frozen=True, slots=True)
class Paint(Order):
    wall: str
    colour: str = "white"


@dataclass(frozen=True, slots=True)
class Tidy(Order):
    needs: ClassVar[Role] = Role.OPERATOR
    room: str


@dataclass(frozen=True, slots=True)
class Look(Query[Outcome]):
    answer: ClassVar[type] = Outcome


@dataclass(frozen=True, slots=True)
class Search(Query[Outcome]):
    answer: ClassVar[type] = Outcome

    @property
    def slow(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Peek(Query[Outcome]):
    answer: ClassVar[type] = Outcome
    needs: ClassVar[Role] = Role.ADMIN
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Key(Outcome):
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Cut(OrderFor[Key]):
    door: str
    form: str = field(default="blank", repr=False)
    answer: ClassVar[type] = Key
    secret: ClassVar[bool] = True


class Notes:
    """An audit that keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []

    def note(self, record: AuditRecord) -> None:
        self.records.append(record)

    @property
    def results(self) -> list[str]:
        return [record.result for record in self.records]


class Forgetful:
    """A store that keeps no answer of this call; of None: nothing at all."""

    def __init__(self, call: UUID | None) -> None:
        self._call = call

    def stored_answer(self, caller: object, call: UUID) -> None:
        return None

    def keep_answer(self, caller: object, call: UUID, answer: bytes) -> None:
        if self._call in (None, call):
            raise NoSpace("the database is full")


KINDS = (Paint, Tidy, Look, Peek, CreateVolumeFor, AddMembers, ScanDisks, ListOrphans, QueryAudit, ExportAudit)


class Verbatim:
    """Takes every name as it stands."""

    def expected(self, order: OrderFor[Any]) -> Meant:
        return Meant()

    def digest(self, order: OrderFor[Any], meant: Meant) -> None:
        return None

    def bound(self, order: OrderFor[Any], meant: Meant) -> OrderFor[Any]:
        return order

    def is_gone(self, order: OrderFor[Any], subject: str | None) -> bool:
        return False


class Office:
    """A desk with some rows; ``done`` is what was carried out."""

    def __init__(self) -> None:
        self.clock = HandClock(wall=1_700_000_000.0)
        self.store: SqlStore = open_store(None, self.clock)
        self.audit = Notes()
        self.log = Kept()
        self.done: list[Request[Any]] = []
        self.error: Exception | None = None
        self.task: UUID | None = None
        self.restart()

    def restart(self, store: Any = None, means: Any = None) -> None:
        rows: dict[type[Request[Any]], Callable[[Any, Call], Any]] = dict.fromkeys(KINDS, self._do)
        rows[Cut] = self._cut
        kept, means = store or self.store, means or meaning(self.store)
        self.desk = Desk(rows, kept, self.audit, self.clock, self.log, means)

    def ask(self, request: Request[Any], call: UUID = ONE) -> Any:
        return self.desk.answer(request, Call(call, Deadline.after(self.clock, 10.0), ADMINISTRATOR))

    def _do(self, request: Any, call: Call) -> Outcome:
        if self.error is not None:
            raise self.error
        self.done.append(request)
        done = not getattr(request, "dry_run", False) and self.task is None
        return Outcome(Plan((Step("paint", "wall"),)), done, "7", len(self.done), self.task)

    def _cut(self, request: Cut, call: Call) -> Key:
        self.done.append(request)
        return Key(Plan(), True, key=f"key {len(self.done)}")


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.mark.parametrize(
    ("request_", "role", "may"),
    [
        (Look(), Role.VIEWER, True),
        (Peek("x"), Role.OPERATOR, False),
        (Tidy("r"), Role.VIEWER, False),
        (Tidy("r"), Role.OPERATOR, True),
        (Paint("w"), Role.VIEWER, False),
        (Paint("w"), Role.OPERATOR, False),
        (Paint("w", dry_run=True), Role.OPERATOR, False),
        (Paint("w"), Role.ADMIN, True),
    ],
)
def test_each_message_needs_its_role(office: Office, request_: Any, role: Role, may: bool) -> None:
    asked = replace(request_, by=Actor("ann", role, "unix"))
    if may:
        office.ask(asked)
        assert office.done == [asked]
        return
    with pytest.raises(NotPermitted, match=f"ann has the role {role}, and .* needs {request_.needs}"):
        office.ask(asked)
    assert office.done == []
    assert office.audit.results == ["not-permitted"]


def searching(office: Office, meanwhile: Callable[[], object]) -> Desk:
    """A desk where something happens while the second of two long looks is under way."""
    depth: list[None] = []

    def search(request: Search, call: Call) -> Outcome:
        depth.append(None)
        if len(depth) < MOST_SLOW:
            desk.answer(request, call)
        elif len(depth) == MOST_SLOW:
            meanwhile()
        return Outcome(Plan(), True)

    rows: Any = {Search: search, Look: lambda *_: Outcome(Plan(), True)}
    desk = Desk(rows, office.store, office.audit, office.clock, office.log, meaning(office.store))
    return desk


def test_long_looks_leave_workers_for_what_takes_a_moment(office: Office) -> None:
    call, heard = Call(ONE, Deadline.after(office.clock, 10.0), ADMINISTRATOR), list[object]()

    def meanwhile() -> None:
        heard.append(desk.answer(Look(), call))
        with pytest.raises(Busy, match="2 long looks .* are under way.*wait until one of them has ended"):
            desk.answer(Search(), call)

    desk = searching(office, meanwhile)
    desk.answer(Search(), call)
    assert (len(heard), WORKERS[Kind.READ] - MOST_SLOW) == (1, 2)


def test_viewers_leave_a_long_look_to_those_who_may_do_more(office: Office) -> None:
    viewer, operator = Search(by=replace(ANN, role=Role.VIEWER)), Search(by=ANN)
    call, heard = Call(ONE, Deadline.after(office.clock, 10.0), ADMINISTRATOR), list[object]()

    def search(request: Search, call: Call) -> Outcome:
        if request.by.role is Role.VIEWER:
            with pytest.raises(Busy, match="a viewer's long look .* is under way"):
                desk.answer(viewer, call)
            heard.append(desk.answer(operator, call))
        return Outcome(Plan(), True)

    desk = Desk({Search: search}, office.store, office.audit, office.clock, office.log, meaning(office.store))
    for _ in range(2):
        desk.answer(viewer, call)
    assert len(heard) == 2


@pytest.mark.parametrize("asked", [ScanDisks(datastore="ds1"), ListOrphans(), QueryAudit(), ExportAudit()])
def test_a_viewer_does_not_look_for_disks_nor_at_what_others_did(office: Office, asked: Query[Any]) -> None:
    with pytest.raises(NotPermitted, match="needs operator"):
        office.ask(replace(asked, by=replace(ANN, role=Role.VIEWER)))
    assert office.done == []


def test_a_long_look_that_failed_is_in_nobody_s_way(office: Office) -> None:
    call = Call(ONE, Deadline.after(office.clock, 10.0), ADMINISTRATOR)

    def meanwhile() -> None:
        raise TruthUnknown("the datastore does not answer")

    desk = searching(office, meanwhile)
    with pytest.raises(TruthUnknown):
        desk.answer(Search(), call)
    for _ in range(MOST_SLOW + 1):
        assert desk.answer(Search(), call).done


def test_what_goes_from_disk_to_disk_is_a_long_look() -> None:
    slow = {ScanDisks(datastore="ds1"), ListOrphans(), ListPolicies(compliance=True), GetPolicy(name="gold")}
    assert all(query.slow for query in slow)
    assert ListPolicyVolumes(name="gold").slow
    assert not ListPolicies().slow


def test_what_is_no_administrators_message_is_refused(office: Office) -> None:
    with pytest.raises(BadFrame, match="ListAttached is not for administrators"):
        office.ask(ListAttached())


def test_an_order_that_comes_again_is_carried_out_once(office: Office) -> None:
    first = office.ask(Paint("north"))
    assert office.ask(Paint("north")) == first
    office.restart()
    assert office.ask(Paint("north")) == first
    assert len(office.done) == 1
    assert office.audit.results == ["done"]


def test_the_same_administrator_may_ask_again_from_elsewhere(office: Office) -> None:
    first = office.ask(Paint("north", by=replace(ANN, role=Role.ADMIN)))
    assert office.ask(Paint("north", by=Actor("ann", Role.ADMIN, "192.0.2.8"))) == first
    assert len(office.done) == 1


@pytest.mark.parametrize(
    "other",
    [Paint("south"), Paint("north", "red"), Paint("north", expect=1), Paint("north", by=ANN), Tidy("north")],
    ids=["target", "field", "expect", "actor", "verb"],
)
@pytest.mark.parametrize("refused", [False, True])
def test_another_order_with_a_used_key_is_refused(office: Office, other: Any, refused: bool) -> None:
    office.error = Conflict("the wall is wet") if refused else None
    if refused:
        with pytest.raises(Conflict):
            office.ask(Paint("north"))
    else:
        office.ask(Paint("north"))
    office.error = None
    with pytest.raises(KeyReused):
        office.ask(replace(other, by=replace(other.by, role=Role.ADMIN)))
    assert len(office.done) == (not refused)


def test_who_lost_the_role_gets_no_stored_answer(office: Office) -> None:
    office.ask(Paint("north"))
    with pytest.raises(NotPermitted):
        office.ask(Paint("north", by=Actor(ROOT.name, Role.VIEWER, "unix")))


def test_what_no_longer_stands_against_an_order_refuses_its_repeat_for_seconds_only(office: Office) -> None:
    office.error = Conflict("the wall is wet")
    with pytest.raises(Conflict):
        office.ask(Paint("north"))
    office.error = None
    office.clock.sleep(REFUSED_S + 1.0)
    assert office.ask(Paint("north")).done
    assert len(office.done) == 1


def test_what_still_stands_against_an_order_refuses_its_repeat_anew(office: Office) -> None:
    for why in ("the wall is wet", "the wall is gone"):
        office.error = Conflict(why)
        with pytest.raises(Conflict, match=why):
            office.ask(Paint("north"))
        office.clock.sleep(REFUSED_S + 1.0)


def test_the_key_of_a_refused_order_is_no_other_orders_later_either(office: Office) -> None:
    office.error = Conflict("the wall is wet")
    with pytest.raises(Conflict):
        office.ask(Paint("north"))
    office.clock.sleep(REFUSED_S + 1.0)
    with pytest.raises(KeyReused):
        office.ask(Paint("south"))


def test_a_refused_order_stays_refused_to_a_late_copy(office: Office) -> None:
    office.error = Conflict("the wall is wet")
    with pytest.raises(Conflict):
        office.ask(Paint("north"))
    office.error = None
    with pytest.raises(Conflict, match="the wall is wet"):
        office.ask(Paint("north"))
    assert office.done == []
    assert office.ask(Paint("north"), TWO).done


def test_an_order_whose_end_is_not_known_goes_on_when_it_comes_again(office: Office) -> None:
    office.error = StillWorking("painting")
    with pytest.raises(StillWorking):
        office.ask(Paint("north"))
    office.error = None
    assert office.ask(Paint("north")).done
    assert office.audit.results == ["still-working", "done"]


def test_a_dry_run_is_no_repeat_and_nothing_is_a_repeat_of_it(office: Office) -> None:
    assert not office.ask(Paint("north", dry_run=True)).done
    assert office.ask(Paint("north")).done
    assert not office.ask(Paint("north", dry_run=True)).done
    assert office.audit.results == ["dry-run", "done", "dry-run"]


def test_the_audit_hears_who_did_what_to_what(office: Office) -> None:
    office.ask(Tidy("attic", by=ANN))
    assert office.audit.records == [
        AuditRecord(1_700_000_000.0, "ann", "operator", "192.0.2.7", "tidy", "attic", "done", ONE, "room=attic")
    ]


def test_no_name_in_the_audit_reads_as_another_field(office: Office) -> None:
    office.ask(Paint("north result=done", ""))
    assert office.audit.records[0].detail == "wall='north result=done'"


MADE = CreateVolumeFor(vmgroup="_DEFAULT", name="db", options=(("size", "10mb"), ("access", "read-only")), over_quota=True)


@pytest.mark.parametrize(
    ("order", "detail"),
    [
        (MADE, "vmgroup=_DEFAULT name=db options=size=10mb,access=read-only over_quota=true"),
        (
            CreateVolumeFor(vmgroup="g", name="db", options=(("label", "a, b=c"),)),
            "vmgroup=g name=db options=\"label='a, b=c'\" over_quota=false",
        ),
        (AddMembers(name="_DEFAULT", vms=("hostb",)), "name=_DEFAULT vms=hostb"),
        (AddMembers(name="_DEFAULT", vms=("a,b", "c d")), "name=_DEFAULT vms=\"'a,b','c d'\""),
        (AddMembers(name="_DEFAULT", vms=("a' result=done",)), "name=_DEFAULT vms='\"a\\' result=done\"'"),
    ],
)
def test_the_audit_has_lists_as_people_write_them(office: Office, order: Order, detail: str) -> None:
    office.restart(means=Verbatim())
    office.ask(order)
    assert office.audit.records[0].detail == detail


def test_the_audit_hears_of_a_task_that_was_started(office: Office) -> None:
    office.task = TWO
    office.ask(Paint("north"))
    assert office.audit.results == ["started"]
    assert office.audit.records[0].detail.endswith(f" operation={TWO}")


@pytest.mark.parametrize(("error", "result"), [(Conflict("the wall is wet"), "conflict"), (ZeroDivisionError("x"), "internal")])
def test_the_audit_hears_why_an_order_was_not_carried_out(office: Office, error: Exception, result: str) -> None:
    office.error = error
    with pytest.raises(type(error)):
        office.ask(Paint("north"))
    (record,) = office.audit.records
    assert record.result == result
    assert record.detail.startswith("wall=north colour=white ")


def test_a_query_leaves_no_record(office: Office) -> None:
    office.ask(Look())
    assert office.audit.records == []


def test_an_answer_that_cannot_be_kept_is_still_given(office: Office) -> None:
    office.restart(Forgetful(ONE))
    assert office.ask(Paint("north")).done
    assert office.log.events("warning") == ["answer not kept"]


def test_an_order_of_which_nothing_can_be_kept_is_not_carried_out(office: Office) -> None:
    """Its repeat could not know what it meant."""
    office.restart(Forgetful(None))
    with pytest.raises(NoSpace):
        office.ask(Paint("north"))
    assert office.done == []


def test_a_secret_answer_is_told_again_to_who_lost_it_and_never_kept(office: Office) -> None:
    made = office.ask(Cut("front", form="secret form"))
    assert office.ask(Cut("front", form="secret form")) == made
    assert len(office.done) == 1
    kept = office.store.stored_answer(ADMINISTRATOR, ONE)
    assert kept is not None
    assert b"key 1" not in kept
    assert "secret form" not in repr(office.audit.records)


def test_a_secret_answer_is_not_told_by_the_next_process_and_no_second_one_is_made(office: Office) -> None:
    """A late copy of the order must not make the key void that somebody has."""
    office.ask(Cut("front"))
    office.restart()
    with pytest.raises(KeyReused, match="a secret that is not kept"):
        office.ask(Cut("front"))
    assert len(office.done) == 1


def test_a_secret_answer_is_not_told_for_long(office: Office) -> None:
    office.ask(Cut("front"))
    office.clock.pass_time(601.0)
    with pytest.raises(KeyReused):
        office.ask(Cut("front"))


def test_another_order_with_the_key_of_a_secret_one_does_not_hear_it(office: Office) -> None:
    office.ask(Cut("front"))
    with pytest.raises(KeyReused, match="another order"):
        office.ask(Cut("back"))


def test_without_a_database_everybody_hears_why(office: Office) -> None:
    answer = refuse_all(MetadataDamaged("it is torn", remedy="rebuild it"))
    with pytest.raises(MetadataDamaged, match="cannot be used: it is torn; rebuild it"):
        answer(Look(), Call(ONE, Deadline.after(office.clock, 1.0)))
