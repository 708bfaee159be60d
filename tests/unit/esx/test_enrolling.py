"""A token gives one machine one identity, once; a repeat of the same is no second use, and everything else is refused."""

from __future__ import annotations

import pytest

from tests.unit.esx.enrolment import HOST, LEAF_S, OTHER, SOCKET_HOST, Registry, SigningByHand, from_tcp, from_vsock, hello
from vmdkvol.admin_messages import EnrollVm, RevokeVm
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import BadRequest, Busy, Denied, NotEnrolled, NotPermitted, TruthUnknown
from vmdkvol.messages import Authority, Call, Enroll, Enrolled, Introduce, ListAttached, Renew
from vmdkvol.tokens import Token, pin_of
from vmdkvol.volume import VmId
from vmdkvol_esx.enrolling import RENEWED_S, Ours
from vmdkvol_esx.identities import Issued


@pytest.fixture
def registry() -> Registry:
    return Registry()


def token(registry: Registry, name: str = "host") -> str:
    return registry.enrolments.enroll(EnrollVm(name)).token


def enrolled(registry: Registry, name: str = "host", csr: str = "csr 1") -> Enrolled:
    return registry.enrolling.enroll(Enroll(token(registry, name), csr), from_tcp())


def test_a_token_makes_a_stranger_the_machine_that_it_is_for(registry: Registry) -> None:
    got = enrolled(registry)
    assert (got.vm, got.vm_name, got.ca_pem) == (HOST, "host", registry.signing.ca_pem)
    assert registry.callers.identify(from_tcp(got.certificate_pem), hello()).vm == HOST


def test_whoever_asks_is_told_who_signs_here(registry: Registry) -> None:
    call = Call(HOST, Deadline.after(SystemClock(), 30.0))
    assert registry.enrolling.stranger(Introduce(), call, from_tcp()) == Authority(registry.signing.ca_pem)


def test_a_stranger_gets_nothing_else(registry: Registry) -> None:
    with pytest.raises(NotPermitted):
        registry.enrolling.stranger(ListAttached(), Call(HOST, Deadline.after(SystemClock(), 30.0)), from_tcp())


def test_the_same_request_again_gets_the_same_certificate_and_is_no_alarm(registry: Registry) -> None:
    """Its answer was lost: the connection broke, or the agent was killed."""
    asked = Enroll(token(registry), "csr 1")
    first = registry.enrolling.enroll(asked, from_tcp())
    assert registry.enrolling.enroll(asked, from_tcp()) == first
    assert registry.alarms == []
    assert len(registry.store.identities()) == 1


def test_a_second_use_by_another_key_is_refused_and_an_alarm(registry: Registry) -> None:
    text = token(registry)
    registry.enrolling.enroll(Enroll(text, "csr 1"), from_tcp())
    with pytest.raises(NotPermitted, match="used already"):
        registry.enrolling.enroll(Enroll(text, "csr 2"), from_tcp(text="10.9.9.9:1"))
    assert registry.alarms == ["a token was used twice: somebody else may have read it"]
    assert registry.log.lines[-1].fields["peer"] == "10.9.9.9:1"
    assert text not in repr(registry.log.lines)


def test_a_hostile_peer_does_not_flood_the_log(registry: Registry) -> None:
    text = token(registry)
    registry.enrolling.enroll(Enroll(text, "csr 1"), from_tcp())
    for number in range(50):
        with pytest.raises(NotPermitted):
            registry.enrolling.enroll(Enroll(text, f"csr {number + 2}"), from_tcp())
    assert len(registry.alarms) == 1
    registry.clock.pass_time(61.0)
    with pytest.raises(NotPermitted):
        registry.enrolling.enroll(Enroll(text, "csr 2"), from_tcp())
    assert len(registry.alarms) == 2


def test_a_token_is_over_after_an_hour_also_for_the_repeat(registry: Registry) -> None:
    asked = Enroll(token(registry), "csr 1")
    registry.enrolling.enroll(asked, from_tcp())
    late = Enroll(token(registry), "csr 2")
    registry.clock.pass_time(3600.0)
    for each in (asked, late):
        with pytest.raises(NotPermitted, match="is over"):
            registry.enrolling.enroll(each, from_tcp())
    assert len(registry.store.identities()) == 1


def test_a_new_token_takes_the_place_of_one_that_went_astray(registry: Registry) -> None:
    lost, new = token(registry), token(registry)
    for before in (True, False):
        with pytest.raises(NotPermitted, match="took it back"):
            registry.enrolling.enroll(Enroll(lost, "csr of a stranger"), from_tcp())
        if before:
            registry.enrolling.enroll(Enroll(new, "csr 1"), from_tcp())
    assert len(registry.store.identities()) == 1


def test_a_token_that_nobody_gave_out_is_refused(registry: Registry) -> None:
    known = Token.parse(token(registry))
    for made_up in (Token(bytes(32), known.pin), Token(known.secret, pin_of(b"another authority"))):
        with pytest.raises(NotPermitted, match="does not know this token"):
            registry.enrolling.enroll(Enroll(made_up.text, "csr 1"), from_tcp())
    assert registry.store.identities() == ()


@pytest.mark.parametrize("text", ["", "x", "vmdkvol1.AAAA.BBBB"])
def test_what_is_no_token_is_refused(registry: Registry, text: str) -> None:
    with pytest.raises(BadRequest):
        registry.enrolling.enroll(Enroll(text, "csr 1"), from_tcp())


def test_a_request_that_is_none_does_not_use_the_token_up(registry: Registry) -> None:
    text = token(registry)
    with pytest.raises(BadRequest):
        registry.enrolling.enroll(Enroll(text, "garbage"), from_tcp())
    assert registry.enrolling.enroll(Enroll(text, "csr 1"), from_tcp()).vm == HOST


def test_without_the_authoritys_key_neither_token_nor_enrolment(registry: Registry) -> None:
    text = token(registry)
    registry.signing.has_key = False
    with pytest.raises(NotPermitted, match="key is missing"):
        registry.enrolling.enroll(Enroll(text, "csr 1"), from_tcp())
    with pytest.raises(NotPermitted, match="key is missing"):
        token(registry)


def test_over_vsock_the_token_counts_from_its_own_machine_only(registry: Registry) -> None:
    text = token(registry)
    for context_id in (12, 13):
        with pytest.raises(NotPermitted, match="is another machine"):
            registry.enrolling.enroll(Enroll(text, "csr 1"), from_vsock(context_id))
    assert registry.alarms == ["a token came from another machine than it is for"]
    assert registry.enrolling.enroll(Enroll(text, "csr 1"), from_vsock(11)).vm == HOST


def test_a_machine_that_is_gone_is_not_enrolled(registry: Registry) -> None:
    text = token(registry)
    del registry.machines.known[HOST]
    with pytest.raises(NotPermitted, match="is gone"):
        registry.enrolling.enroll(Enroll(text, "csr 1"), from_tcp())


def test_while_the_hypervisor_does_not_answer_the_token_is_not_used_up(registry: Registry) -> None:
    text = token(registry)
    registry.machines.error = TruthUnknown("no answer")
    with pytest.raises(TruthUnknown):
        registry.enrolling.enroll(Enroll(text, "csr 1"), from_tcp())
    registry.machines.error = None
    assert registry.enrolling.enroll(Enroll(text, "csr 1"), from_tcp()).vm == HOST


def test_who_enrols_again_ends_the_older_identity_and_those_who_use_it_are_closed(registry: Registry) -> None:
    old = enrolled(registry)
    registry.ended.clear()
    new = enrolled(registry, csr="csr 2")
    assert registry.ended == [HOST]
    with pytest.raises(NotEnrolled, match="revoked"):
        registry.callers.identify(from_tcp(old.certificate_pem), hello())
    assert registry.callers.identify(from_tcp(new.certificate_pem), hello()).vm == HOST


def test_a_token_that_was_taken_back_is_not_known(registry: Registry) -> None:
    text = token(registry)
    registry.enrolments.revoke(RevokeVm("host"))
    with pytest.raises(NotPermitted, match="took it back"):
        registry.enrolling.enroll(Enroll(text, "csr 1"), from_tcp())


def test_what_was_revoked_is_not_given_again_to_a_repeat(registry: Registry) -> None:
    asked = Enroll(token(registry), "csr 1")
    registry.enrolling.enroll(asked, from_tcp())
    registry.enrolments.revoke(RevokeVm("host"))
    with pytest.raises(Denied):
        registry.enrolling.enroll(asked, from_tcp())


# --- renewal -----------------------------------------------------------------------------------------------------


def renewed(registry: Registry, csr: str, vm: VmId = HOST) -> Enrolled:
    return registry.enrolling.renew(vm, Renew(csr))


def test_while_it_is_renewed_the_old_and_the_new_certificate_count(registry: Registry) -> None:
    old = enrolled(registry)
    registry.clock.pass_time(LEAF_S * 2 / 3)
    new = renewed(registry, "csr 2")
    for each in (old, new):
        assert registry.callers.identify(from_tcp(each.certificate_pem), hello()).vm == HOST


def test_a_repeated_renewal_gets_the_same_certificate(registry: Registry) -> None:
    enrolled(registry)
    registry.clock.pass_time(RENEWED_S)
    assert renewed(registry, "csr 2") == renewed(registry, "csr 2")


def test_a_machine_does_not_fill_the_database(registry: Registry) -> None:
    enrolled(registry)
    for number in range(20):
        with pytest.raises(Busy):
            renewed(registry, f"csr {number + 2}")
    for number in range(20):
        registry.clock.pass_time(RENEWED_S)
        renewed(registry, f"csr {number + 2}")
    assert len(registry.store.identities(HOST)) == 2


def test_what_the_machine_showed_last_outlives_renewals_whose_answers_were_lost(registry: Registry) -> None:
    kept = enrolled(registry)
    registry.callers.identify(from_tcp(kept.certificate_pem), hello())
    for number in range(3):
        registry.clock.pass_time(RENEWED_S)
        renewed(registry, f"csr {number + 2}")
    assert registry.callers.identify(from_tcp(kept.certificate_pem), hello()).vm == HOST


@pytest.mark.parametrize("vm", [OTHER, SOCKET_HOST])
def test_who_has_no_certificate_has_none_renewed(registry: Registry, vm: VmId) -> None:
    enrolled(registry)
    with pytest.raises(NotEnrolled):
        renewed(registry, "csr 2", vm)


def test_who_was_revoked_gets_no_new_one(registry: Registry) -> None:
    enrolled(registry)
    registry.clock.pass_time(RENEWED_S)
    registry.enrolments.revoke(RevokeVm("host"))
    # Nor, by a repeat, the one that it had.
    for csr in ("csr 2", "csr 1"):
        with pytest.raises(NotEnrolled):
            renewed(registry, csr)


def test_who_is_revoked_while_its_new_one_is_signed_does_not_get_it(registry: Registry) -> None:
    class RevokedThen(SigningByHand):
        def sign(self, csr_pem: str, vm: VmId) -> Issued:
            registry.enrolments.revoke(RevokeVm("host"))
            return super().sign(csr_pem, vm)

    enrolled(registry)
    registry.clock.pass_time(RENEWED_S)
    registry.enrolling._authority = RevokedThen(registry.clock)
    with pytest.raises(NotEnrolled, match="were revoked"):
        renewed(registry, "csr 2")
    assert all(each.revoked_at is not None for each in registry.store.identities(HOST))


def test_a_clock_that_was_set_back_does_not_keep_a_renewal_away(registry: Registry) -> None:
    enrolled(registry)
    registry.clock.jump(-2 * 86400.0)
    assert renewed(registry, "csr 2").vm == HOST


# --- who is ours -------------------------------------------------------------------------------------------------


def test_who_has_a_token_is_ours_already(registry: Registry) -> None:
    assert HOST not in registry.ours
    token(registry)
    assert set(registry.ours) == {HOST, SOCKET_HOST}


def test_ours_may_grow_while_it_is_looked_at() -> None:
    ours = Ours([HOST])
    for _ in ours:
        ours.add(OTHER)
    assert (len(ours), sorted(ours)) == (2, [HOST, OTHER])
