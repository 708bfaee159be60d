"""Whom a certificate speaks for: what is on record, of a machine that is there, from where that machine is, one at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.esx.enrolment import HOST, LEAF_S, OTHER, Registry, from_tcp, from_vsock, hello
from vmdkvol.admin_messages import EnrollVm
from vmdkvol.errors import (
    Busy,
    HypervisorUnreachable,
    IdentityConflict,
    MetadataDamaged,
    NotEnrolled,
    TruthUnknown,
    UnknownCaller,
    VolumeError,
)
from vmdkvol.messages import Enroll
from vmdkvol_esx.alarms import Alarms
from vmdkvol_esx.callers import CONFLICT_S, Caller, Callers, Present
from vmdkvol_esx.identities import Identity


@pytest.fixture
def registry() -> Registry:
    return Registry()


def enrol(registry: Registry, name: str = "host", csr: str = "csr 1") -> str:
    token = registry.enrolments.enroll(EnrollVm(name)).token
    return registry.enrolling.enroll(Enroll(token, csr), from_tcp()).certificate_pem


def test_a_certificate_on_record_is_its_machine(registry: Registry) -> None:
    certificate = enrol(registry)
    assert registry.callers.identify(from_tcp(certificate), hello()) == Caller(HOST, "host")


def test_the_machines_name_is_the_one_that_it_has_now(registry: Registry) -> None:
    certificate = enrol(registry)
    registry.machines.known[HOST] = registry.machines.known[OTHER].__class__(HOST, "renamed", running=True)
    assert registry.callers.identify(from_tcp(certificate), hello()).name == "renamed"


def test_one_that_the_authority_signed_and_that_is_not_on_record_speaks_for_nobody(registry: Registry) -> None:
    """The service was restored from an older backup, or a certificate was replaced twice."""
    enrol(registry)
    foreign = registry.signing.sign("csr 9", HOST).certificate_pem
    with pytest.raises(NotEnrolled, match="not on record.*enrol this machine again"):
        registry.callers.identify(from_tcp(foreign), hello())


def test_one_that_is_over_speaks_for_nobody(registry: Registry) -> None:
    certificate = enrol(registry)
    registry.clock.pass_time(LEAF_S)
    with pytest.raises(NotEnrolled, match="is over"):
        registry.callers.identify(from_tcp(certificate), hello())


def test_one_of_a_machine_that_is_gone_speaks_for_nobody(registry: Registry) -> None:
    certificate = enrol(registry)
    del registry.machines.known[HOST]
    with pytest.raises(NotEnrolled, match=str(HOST)):
        registry.callers.identify(from_tcp(certificate), hello())


def test_nobody_speaks_without_one(registry: Registry) -> None:
    enrol(registry)
    for proof in (from_tcp(), from_vsock(11)):
        with pytest.raises(NotEnrolled, match="shows no certificate"):
            registry.callers.identify(proof, hello())


@pytest.mark.parametrize("error", [HypervisorUnreachable("no answer"), TruthUnknown("no answer")])
def test_while_the_hypervisor_does_not_answer_nobody_is_anybody(registry: Registry, error: VolumeError) -> None:
    certificate = enrol(registry)
    registry.machines.error = error
    for proof in (from_tcp(certificate), from_vsock(11, certificate)):
        with pytest.raises(type(error)):
            registry.callers.identify(proof, hello())


def test_with_a_damaged_database_no_certificate_counts(registry: Registry) -> None:
    certificate = enrol(registry)
    blind = Callers(registry.enrolments._hypervisor, None, registry.clock, Alarms(registry.clock, registry.log))
    with pytest.raises(MetadataDamaged, match="database is damaged"):
        blind.identify(from_tcp(certificate), hello())


def test_a_record_that_cannot_be_read_makes_nobody_of_somebody(registry: Registry) -> None:
    class Damaged:
        def identity(self, fingerprint: str) -> Identity | None:
            raise MetadataDamaged("does not match its checksum")

    broken = Callers(registry.enrolments._hypervisor, Damaged(), registry.clock, Alarms(registry.clock, registry.log))
    with pytest.raises(MetadataDamaged):
        broken.identify(from_tcp(enrol(registry)), hello())


# --- vsock: the hypervisor's word on top ----------------------------------------------------------------------------


def test_over_vsock_key_and_context_id_are_of_one_machine(registry: Registry) -> None:
    certificate = enrol(registry)
    assert registry.callers.identify(from_vsock(11, certificate), hello()).vm == HOST


def test_a_copy_with_the_same_key_is_refused_and_reported(registry: Registry) -> None:
    certificate = enrol(registry)
    with pytest.raises(IdentityConflict, match=f"{OTHER}.*host"):
        registry.callers.identify(from_vsock(12, certificate), hello())
    assert registry.alarms == ["a machine shows another one's key"]


def test_a_context_id_that_no_machine_of_ours_has_is_refused(registry: Registry) -> None:
    certificate = enrol(registry)
    with pytest.raises(UnknownCaller, match="context id 13 .* no machine of ours"):
        registry.callers.identify(from_vsock(13, certificate), hello())


def test_a_context_id_alone_proves_nothing(registry: Registry) -> None:
    """Any process in the guest may open vsock, a container's too (faults 1.9)."""
    enrol(registry)
    with pytest.raises(NotEnrolled):
        registry.callers.identify(from_vsock(11), hello())


# --- one at a time --------------------------------------------------------------------------------------------------


def present(boot: str, certificate: str | None = "certificate", text: str = "10.0.0.1:1", place: str = "") -> Present:
    return Present(Caller(HOST, "host"), boot, replace(from_tcp(certificate, text), place=place))


def test_further_connections_of_one_boot_are_let_in(registry: Registry) -> None:
    registry.callers.admit(present("a"), (present("a"), present("a")))


def test_a_second_boot_waits_while_the_first_may_be_dead_and_is_let_in_when_it_was(registry: Registry) -> None:
    first, second = present("a"), present("b", text="10.0.0.2:1")
    for _ in range(14):
        with pytest.raises(Busy):
            registry.callers.admit(second, (first,))
        registry.clock.pass_time(1.0)
    registry.callers.admit(second, ())
    assert registry.alarms == []


def test_a_second_boot_is_refused_when_the_first_is_still_there_and_both_are_named(registry: Registry) -> None:
    first, second = present("a", text="10.0.0.1:1"), present("b", text="10.0.0.2:2")
    for _ in range(int(CONFLICT_S)):
        with pytest.raises(Busy):
            registry.callers.admit(second, (first,))
        registry.clock.pass_time(1.0)
    for _ in range(5):
        with pytest.raises(IdentityConflict, match=r"10\.0\.0\.1:1"):
            registry.callers.admit(second, (first,))
        registry.clock.pass_time(1.0)
    assert registry.alarms == ["two machines have one identity: the second is refused"]
    assert {"10.0.0.1:1", "10.0.0.2:2"} <= set(map(str, registry.log.lines[-1].fields.values()))


def test_a_copy_made_with_its_memory_has_the_same_boot_and_is_refused_by_where_it_is(registry: Registry) -> None:
    first, copy = present("a", place="10.0.0.1/32"), present("a", place="10.0.0.2/32")
    for _ in range(int(CONFLICT_S)):
        with pytest.raises(Busy):
            registry.callers.admit(copy, (first,))
        registry.callers.admit(first, (first,))
        registry.clock.pass_time(1.0)
    with pytest.raises(IdentityConflict):
        registry.callers.admit(copy, (first,))
    registry.callers.admit(copy, ())


def test_the_first_goes_on_while_the_second_asks(registry: Registry) -> None:
    first, second = present("a"), present("b")
    with pytest.raises(Busy):
        registry.callers.admit(second, (first,))
    registry.callers.admit(present("a"), (first,))


def test_one_that_did_not_ask_for_a_while_waits_anew(registry: Registry) -> None:
    with pytest.raises(Busy):
        registry.callers.admit(present("b"), (present("a"),))
    registry.clock.pass_time(3600.0)
    with pytest.raises(Busy):
        registry.callers.admit(present("b"), (present("a"),))


@pytest.mark.parametrize(("newcomer", "other"), [(None, None), (None, "certificate"), ("certificate", None)])
def test_a_host_that_is_known_by_its_socket_may_have_any_boots(
    registry: Registry, newcomer: str | None, other: str | None
) -> None:
    registry.callers.admit(present("a", newcomer), (present("b", other),))


def test_one_that_was_let_in_waits_anew_when_it_comes_again(registry: Registry) -> None:
    """Without that, a machine that is reset twice in a minute would be taken for its own copy."""
    first, second = present("a"), present("b")
    with pytest.raises(Busy):
        registry.callers.admit(second, (first,))
    registry.callers.admit(second, ())
    registry.clock.pass_time(CONFLICT_S)
    with pytest.raises(Busy):
        registry.callers.admit(second, (first,))


def test_many_boots_do_not_fill_the_memory(registry: Registry) -> None:
    for number in range(3000):
        with pytest.raises(Busy):
            registry.callers.admit(present(f"boot {number}"), (present("a"),))
    assert len(registry.callers._waiting) <= 1000


def test_what_a_caller_showed_is_told(registry: Registry) -> None:
    shown: list[tuple[object, str]] = []
    callers = Callers(
        registry.enrolments._hypervisor,
        registry.store,
        registry.clock,
        Alarms(registry.clock, registry.log),
        lambda vm, fingerprint: shown.append((vm, fingerprint)),
    )
    certificate = enrol(registry)
    callers.identify(from_tcp(certificate), hello())
    assert shown == [(HOST, registry.store.identities(HOST)[0].fingerprint)]


def test_who_is_revoked_between_the_look_and_the_admission_is_not_let_in(registry: Registry) -> None:
    certificate = enrol(registry)
    caller = registry.callers.identify(from_tcp(certificate), hello())
    registry.store.revoke(HOST, registry.clock.wall())
    registry.callers.ended(HOST)
    with pytest.raises(Busy):
        registry.callers.admit(Present(caller, "boot", from_tcp(certificate)), ())


def test_who_is_revoked_while_the_records_are_looked_at_is_not_let_in(registry: Registry) -> None:
    class RevokedThen:
        def identity(self, fingerprint: str) -> Identity | None:
            found = registry.store.identity(fingerprint)
            callers.ended(HOST)
            return found

    callers = Callers(registry.enrolments._hypervisor, RevokedThen(), registry.clock, Alarms(registry.clock, registry.log))
    certificate = enrol(registry)
    caller = callers.identify(from_tcp(certificate), hello())
    with pytest.raises(Busy):
        callers.admit(Present(caller, "boot", from_tcp(certificate)), ())


def test_the_end_of_another_machines_identity_keeps_nobody_out(registry: Registry) -> None:
    certificate = enrol(registry)
    caller = registry.callers.identify(from_tcp(certificate), hello())
    registry.callers.ended(OTHER)
    registry.callers.admit(Present(caller, "boot", from_tcp(certificate)), ())


def test_after_the_end_whoever_is_identified_anew_is_let_in(registry: Registry) -> None:
    certificate = enrol(registry)
    registry.callers.ended(HOST)
    caller = registry.callers.identify(from_tcp(certificate), hello())
    registry.callers.admit(Present(caller, "boot", from_tcp(certificate)), ())


# --- at the door ---------------------------------------------------------------------------------------------------


def test_the_records_alone_tell_whose_a_certificate_is(registry: Registry) -> None:
    certificate = enrol(registry)
    registry.machines.error = HypervisorUnreachable("vCenter is away")
    assert registry.callers.whose(from_vsock(99, certificate)) == HOST


def test_who_speaks_for_nobody_hears_it_from_the_records(registry: Registry) -> None:
    certificate = enrol(registry)
    registry.store.revoke(HOST, registry.clock.wall())
    for proof, why in ((from_tcp(certificate), "revoked"), (from_tcp(), "shows no certificate")):
        with pytest.raises(NotEnrolled, match=why):
            registry.callers.whose(proof)
