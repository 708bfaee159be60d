"""What an administrator asks for: a token for exactly one machine, the list of all, an end to an identity."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.unit.esx.enrolment import HOST, LEAF_S, OTHER, SOCKET_HOST, Registry, from_tcp, hello
from vmdkvol import wire
from vmdkvol.admin_messages import EnrollVm, ListVms, RevokeVm, Standing, VmInfo
from vmdkvol.errors import BadRequest, Conflict, HypervisorUnreachable, NotEnrolled, NotFound, UnknownCaller
from vmdkvol.frames import MAX_FRAME
from vmdkvol.messages import Enroll
from vmdkvol.tokens import Token
from vmdkvol.volume import VmId
from vmdkvol_esx.callers import Proof
from vmdkvol_esx.desk import identify
from vmdkvol_esx.enrolments import TOKEN_S, Enrolments
from vmdkvol_esx.ports import Vm


@pytest.fixture
def registry() -> Registry:
    return Registry()


def listed(registry: Registry) -> dict[VmId, VmInfo]:
    return {each.vm: each for each in registry.enrolments.page(ListVms()).vms}


def enrol(registry: Registry, name: str, csr: str = "csr 1") -> str:
    token = registry.enrolments.enroll(EnrollVm(name)).token
    return registry.enrolling.enroll(Enroll(token, csr), from_tcp()).certificate_pem


@pytest.mark.parametrize("name", ["host", str(HOST), str(HOST).upper()])
def test_a_token_is_for_one_machine_for_an_hour(registry: Registry, name: str) -> None:
    made = registry.enrolments.enroll(EnrollVm(name))
    assert (made.vm, made.vm_name, made.given) == (HOST, "host", False)
    assert made.expires_at == registry.clock.wall() + TOKEN_S
    assert Token.parse(made.token).pin == registry.signing.pin


def test_no_two_tokens_are_the_same_and_none_is_kept_or_logged(registry: Registry) -> None:
    first, second = (registry.enrolments.enroll(EnrollVm("host")).token for _ in range(2))
    assert first != second
    kept = repr((registry.store.tickets(), registry.log.lines))
    assert Token.parse(second).hash in kept
    assert not any(part in kept for token in (first, second) for part in token.split(".")[1:2])


@pytest.mark.parametrize("name", ["", "nobody", "HOST", str(UUID(int=99)), "ho*"])
def test_who_is_not_there_gets_no_token(registry: Registry, name: str) -> None:
    with pytest.raises(NotFound):
        registry.enrolments.enroll(EnrollVm(name))
    assert registry.store.tickets() == ()


def test_a_name_that_two_have_names_neither_and_both_ids_are_told(registry: Registry) -> None:
    twin = VmId(UUID(int=77))
    registry.machines.known[twin] = Vm(twin, "host", running=True)
    with pytest.raises(Conflict) as raised:
        registry.enrolments.enroll(EnrollVm("host"))
    assert str(HOST) in str(raised.value)
    assert str(twin) in str(raised.value)
    assert registry.enrolments.enroll(EnrollVm(str(twin))).vm == twin


def test_a_machine_that_is_called_like_anothers_id_does_not_take_its_place(registry: Registry) -> None:
    registry.machines.known[OTHER] = Vm(OTHER, str(HOST), running=True)
    assert registry.enrolments.enroll(EnrollVm(str(HOST))).vm == HOST


def test_the_list_says_what_each_machine_is(registry: Registry) -> None:
    enrol(registry, "host")
    registry.connected.add(HOST)
    invited = registry.enrolments.enroll(EnrollVm("other"))
    found = listed(registry)
    assert found[HOST] == VmInfo(
        HOST, "host", Standing.ENROLLED, connected=True, running=True, not_after=registry.clock.wall() + LEAF_S
    )
    assert (found[OTHER].standing, found[OTHER].expires_at) == (Standing.INVITED, invited.expires_at)
    assert (found[SOCKET_HOST].standing, found[SOCKET_HOST].connected) == (Standing.REGISTERED, False)


def test_what_is_over_is_told(registry: Registry) -> None:
    enrol(registry, "host")
    registry.enrolments.enroll(EnrollVm("other"))
    registry.clock.pass_time(LEAF_S)
    found = listed(registry)
    assert (found[HOST].standing, found[OTHER].standing) == (Standing.EXPIRED, Standing.NONE)


def test_a_machine_that_is_gone_is_listed_as_long_as_it_is_on_record(registry: Registry) -> None:
    enrol(registry, "host")
    del registry.machines.known[HOST]
    assert (listed(registry)[HOST].name, listed(registry)[HOST].running) == ("host", None)


def test_the_list_comes_while_the_hypervisor_does_not_answer(registry: Registry) -> None:
    enrol(registry, "host")
    registry.machines.error = HypervisorUnreachable("no answer")
    found = listed(registry)
    assert found.keys() == {HOST, SOCKET_HOST}
    assert found[HOST].running is None


def test_a_large_site_comes_in_pages_each_machine_once(registry: Registry) -> None:
    more = {VmId(UUID(int=number)): Vm(VmId(UUID(int=number)), "vm", running=True) for number in range(100, 350)}
    registry.machines.known |= more
    seen: list[VmId] = []
    after = None
    for _ in range(10):
        page = registry.enrolments.page(ListVms(after, limit=60))
        seen += [each.vm for each in page.vms]
        after = page.next
        if after is None:
            break
    assert seen == sorted(registry.machines.known, key=str)


def test_long_names_make_more_pages_and_no_page_that_cannot_be_sent(registry: Registry) -> None:
    more = {VmId(UUID(int=number)): Vm(VmId(UUID(int=number)), "ü\n" * 200, running=True) for number in range(100, 290)}
    registry.machines.known |= more
    page = registry.enrolments.page(ListVms(limit=200))
    assert page.next is not None
    assert wire.answer_size(page) <= MAX_FRAME
    assert 1 <= len(page.vms) < 200


def test_all_pages_of_a_listing_are_of_one_look(registry: Registry) -> None:
    first = registry.enrolments.page(ListVms(limit=1))
    del registry.machines.known[OTHER]
    assert registry.enrolments.page(ListVms(first.next, limit=1)).vms[0].vm == OTHER
    registry.clock.pass_time(61.0)
    assert registry.enrolments.page(ListVms(first.next, limit=1)).vms[0].vm == SOCKET_HOST
    assert OTHER not in listed(registry)


def test_two_machines_of_one_id_are_neither_enrolled(registry: Registry) -> None:
    registry.machines.twice = HOST
    with pytest.raises(Conflict):
        registry.enrolments.enroll(EnrollVm(str(HOST)))


@pytest.mark.parametrize("limit", [0, -1, 201])
def test_a_page_has_its_bounds(registry: Registry, limit: int) -> None:
    with pytest.raises(BadRequest):
        registry.enrolments.page(ListVms(limit=limit))


def test_who_is_revoked_is_nobody_at_once(registry: Registry) -> None:
    certificate = enrol(registry, "host")
    registry.ended.clear()
    registry.enrolments.revoke(RevokeVm("host"))
    assert registry.ended == [HOST]
    with pytest.raises(NotEnrolled, match="revoked"):
        registry.callers.identify(from_tcp(certificate), hello())
    assert listed(registry)[HOST].standing is Standing.REVOKED


def test_others_stay_when_one_is_revoked(registry: Registry) -> None:
    enrol(registry, "host")
    certificate = enrol(registry, "other", "csr 2")
    registry.enrolments.revoke(RevokeVm("host"))
    assert registry.callers.identify(from_tcp(certificate), hello()).vm == OTHER


def test_a_machine_is_revoked_while_the_hypervisor_does_not_answer(registry: Registry) -> None:
    enrol(registry, "host")
    registry.machines.error = HypervisorUnreachable("no answer")
    registry.enrolments.revoke(RevokeVm(str(HOST)))
    assert all(each.revoked_at is not None for each in registry.store.identities(HOST))


def test_a_machine_that_was_renamed_is_revoked_by_the_name_that_it_enrolled_with(registry: Registry) -> None:
    enrol(registry, "host")
    registry.machines.known[HOST] = Vm(HOST, "renamed", running=True)
    registry.enrolments.revoke(RevokeVm("host"))
    assert listed(registry)[HOST].standing is Standing.REVOKED


def test_a_machine_that_was_renamed_is_revoked_by_the_name_that_the_list_shows(registry: Registry) -> None:
    enrol(registry, "host")
    registry.machines.known[HOST] = Vm(HOST, "renamed", running=True)
    registry.enrolments.revoke(RevokeVm("renamed"))
    assert listed(registry)[HOST].standing is Standing.REVOKED


def test_a_name_that_went_to_another_machine_revokes_neither(registry: Registry) -> None:
    """The list shows it for the other one, which is not meant by whoever remembers the first."""
    enrol(registry, "host")
    registry.machines.known[HOST] = Vm(HOST, "renamed", running=True)
    registry.machines.known[OTHER] = Vm(OTHER, "host", running=True)
    with pytest.raises(Conflict) as refused:
        registry.enrolments.revoke(RevokeVm("host"))
    assert str(HOST) in refused.value.text
    assert str(OTHER) in refused.value.text
    assert listed(registry)[HOST].standing is Standing.ENROLLED


@pytest.mark.parametrize("name", ["nobody", "other"])
def test_who_is_not_on_record_is_not_revoked(registry: Registry, name: str) -> None:
    enrol(registry, "host")
    with pytest.raises(NotFound):
        registry.enrolments.revoke(RevokeVm(name))


def test_a_token_is_given_to_the_machine_itself_if_asked(registry: Registry) -> None:
    made = registry.enrolments.enroll(EnrollVm("host", give=True))
    assert registry.given == [(HOST, made.token)]
    assert made.given


def test_where_tokens_are_not_given_none_is_made(registry: Registry) -> None:
    without = Enrolments(
        registry.store,
        registry.signing,
        registry.enrolments._hypervisor,
        registry.ours,
        frozenset(),
        registry.clock,
        registry.log,
        bytes,
        registry.connected.__contains__,
        registry.ended.append,
    )
    with pytest.raises(BadRequest, match="guestinfo = true"):
        without.enroll(EnrollVm("host", give=True))
    assert registry.store.tickets() == ()


def test_root_alone_is_the_administrator() -> None:
    assert identify(Proof(None, 0, None, None, "admin"), None).name == "administrator"
    for uid in (1000, None):
        with pytest.raises(UnknownCaller):
            identify(Proof(None, uid, None, None, "admin"), None)


def test_a_service_that_listens_for_none_makes_no_token_and_lists_and_revokes(registry: Registry) -> None:
    enrol(registry, "host")
    registry.enrolments._authority = None
    with pytest.raises(Conflict, match="set `listen`"):
        registry.enrolments.enroll(EnrollVm("host"))
    assert listed(registry)[HOST].standing is Standing.ENROLLED
    registry.enrolments.revoke(RevokeVm("host"))
    assert listed(registry)[HOST].standing is Standing.REVOKED


def test_a_dry_run_of_an_invitation_makes_no_token_and_tells_which_one_would_be_lost(registry: Registry) -> None:
    first = registry.enrolments.enroll(EnrollVm("host"))
    told = registry.enrolments.enroll(EnrollVm("host", give=True, dry_run=True))
    assert (told.token, told.done, told.given, told.subject) == ("", False, False, str(HOST))
    assert told.plan.loses == "the token that it has"
    assert [step.verb for step in told.plan.steps] == ["make-token", "write-token"]
    assert [each.hash for each in registry.store.tickets()] == [Token.parse(first.token).hash]
    assert registry.given == []


def test_a_dry_run_has_the_plan_of_the_real_run(registry: Registry) -> None:
    planned = registry.enrolments.enroll(EnrollVm("host", dry_run=True))
    made = registry.enrolments.enroll(EnrollVm("host"))
    assert (made.plan, made.done) == (planned.plan, True)
    registry.enrolling.enroll(Enroll(made.token, "csr 1"), from_tcp())
    planned_end = registry.enrolments.revoke(RevokeVm("host", dry_run=True))
    assert listed(registry)[HOST].standing is Standing.ENROLLED
    ended = registry.enrolments.revoke(RevokeVm("host"))
    assert (ended.plan, planned_end.done, ended.done) == (planned_end.plan, False, True)
    assert ended.plan.steps[0].before == "enrolled"


def test_a_second_revocation_changes_nothing(registry: Registry) -> None:
    enrol(registry, "host")
    registry.enrolments.revoke(RevokeVm("host"))
    again = registry.enrolments.revoke(RevokeVm("host"))
    assert (again.plan.steps, again.done) == ((), True)
