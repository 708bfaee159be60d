"""One session for all: renewed once, never in a storm, and no change sent twice. Without a network."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.doubles.hand_clock import HandClock
from tests.vsphere.lines import Lines
from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    BadRequest,
    HypervisorUnreachable,
    Internal,
    NoSpace,
    OutcomeUnknown,
    TruthUnknown,
    VolumeError,
)
from vmdkvol_esx.vsphere.connections import flight
from vmdkvol_esx.vsphere.faults import Failed, Meaning, Trouble
from vmdkvol_esx.vsphere.relogin import REFUSED_S
from vmdkvol_esx.vsphere.session import Session

PATIENCE_S = 30.0


class Door:
    """Logs in as told: each entry of ``answers`` is for one login, the last one for all further ones."""

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers) or [None]
        self.logins = 0
        self.logouts = 0
        self.opened = threading.Event()
        self.opened.set()

    def __str__(self) -> str:
        return "vc1:443"

    def log_in(self, deadline: Deadline) -> int:
        assert not deadline.passed
        self.logins += 1
        assert self.opened.wait(PATIENCE_S)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is not None:
            raise answer
        return self.logins

    def log_out(self, service: int, deadline: Deadline) -> None:
        self.logouts += 1


class Calls:
    """A call that fails as told, and says how often it was made and with which session."""

    def __init__(self, *troubles: Meaning) -> None:
        self._troubles = list(troubles)
        self.sessions: list[int] = []

    def __call__(self, service: int) -> str:
        self.sessions.append(service)
        if self._troubles:
            raise Failed(Trouble(self._troubles.pop(0), "words"))
        return "answer"


def refusal() -> Failed:
    return Failed(Trouble(Meaning.WRONG_LOGIN, "InvalidLogin"), asked=True)


class Site:
    def __init__(self, *answers: Exception | None) -> None:
        self.clock = HandClock()
        self.door = Door(*answers)
        self.log = Lines()
        self.session = Session(self.door, self.clock, self.log)

    def soon(self) -> Deadline:
        return Deadline.after(self.clock, PATIENCE_S)

    def read(self, call: Callable[[int], str]) -> str:
        return self.session.read("reading vm-1", call, self.soon())

    def change(self, call: Callable[[int], str]) -> str:
        return self.session.change("attaching x", call, self.soon())


def test_nothing_is_asked_before_the_first_call() -> None:
    assert Site().door.logins == 0


def test_many_calls_have_one_login() -> None:
    site, calls = Site(), Calls()
    for _ in range(3):
        site.read(calls)

    assert (site.door.logins, calls.sessions) == (1, [1, 1, 1])


def test_a_read_of_an_ended_session_is_made_again_in_a_new_one() -> None:
    site, calls = Site(), Calls(Meaning.LOGGED_OUT)

    assert site.read(calls) == "answer"
    assert (calls.sessions, site.session.generation) == ([1, 2], 2)


def test_a_read_over_a_broken_line_to_a_restarted_server_comes_through() -> None:
    site, calls = Site(), Calls(Meaning.LOST, Meaning.LOGGED_OUT)

    assert site.read(calls) == "answer"
    assert calls.sessions == [1, 1, 2]


@pytest.mark.parametrize("meaning", [Meaning.LOST, Meaning.NOT_SENT, Meaning.LOGGED_OUT, Meaning.NOT_UNDERSTOOD])
def test_a_read_is_made_again_once(meaning: Meaning) -> None:
    site, calls = Site(), Calls(*[meaning] * 5)

    with pytest.raises(VolumeError):
        site.read(calls)

    assert len(calls.sessions) == 2


@pytest.mark.parametrize("meaning", [Meaning.LOST, Meaning.NOT_UNDERSTOOD, Meaning.OTHER, Meaning.OUT_OF_REACH])
def test_a_change_in_doubt_is_made_once_and_said_to_be_in_doubt(meaning: Meaning) -> None:
    site, calls = Site(), Calls(meaning)

    with pytest.raises(OutcomeUnknown, match="attaching x on vc1:443"):
        site.change(calls)

    assert len(calls.sessions) == 1


def test_a_change_that_was_refused_for_want_of_a_session_is_made_in_a_new_one() -> None:
    site, calls = Site(), Calls(Meaning.LOGGED_OUT)

    assert site.change(calls) == "answer"
    assert calls.sessions == [1, 2]


def test_a_change_that_was_not_sent_is_sent() -> None:
    site, calls = Site(), Calls(Meaning.NOT_SENT)

    assert site.change(calls) == "answer"


def test_a_refused_change_is_certain_and_says_its_cause() -> None:
    with pytest.raises(NoSpace, match=r"attaching x on vc1:443: the datastore is full \(words\)"):
        Site().change(Calls(Meaning.FULL))


def test_a_change_makes_one_call_of_the_api() -> None:
    def two(_: int) -> str:
        flight().begin("CurrentTime")
        flight().begin("CurrentTime")
        return ""

    with pytest.raises(Internal, match="two calls"):
        Site().change(two)


def test_a_call_outside_of_the_session_is_refused() -> None:
    with pytest.raises(Internal, match="without a deadline"):
        flight()


def test_a_wrong_password_is_tried_once_in_30_s_however_many_ask() -> None:
    site = Site(refusal())
    errors = []
    for _ in range(50):
        with pytest.raises(HypervisorUnreachable) as caught:
            site.read(Calls())
        errors.append(str(caught.value))
        site.clock.pass_time(0.5)

    assert site.door.logins == 1
    assert all("account or its password is wrong" in each and "the password where it comes from" in each for each in errors)


def test_after_30_s_a_corrected_password_is_tried() -> None:
    site = Site(refusal(), None)
    with pytest.raises(HypervisorUnreachable):
        site.read(Calls())
    site.clock.pass_time(REFUSED_S)

    assert site.read(Calls()) == "answer"


def test_whoever_comes_meanwhile_is_told_when_the_next_try_is() -> None:
    site = Site(refusal())
    with pytest.raises(HypervisorUnreachable):
        site.read(Calls())
    site.clock.pass_time(10)

    with pytest.raises(HypervisorUnreachable, match="not tried again for 20 s: logging in on vc1:443"):
        site.read(Calls())
    site.clock.pass_time(19.9)
    with pytest.raises(HypervisorUnreachable, match="not tried again for 1 s: "):
        site.read(Calls())


def test_a_login_whose_answer_was_lost_counts_as_refused() -> None:
    site = Site(Failed(Trouble(Meaning.LOST, "OSError"), asked=True))
    for _ in range(5):
        with pytest.raises(HypervisorUnreachable):
            site.read(Calls())
        site.clock.pass_time(REFUSED_S / 6)

    assert site.door.logins == 1


def test_a_server_that_is_away_is_asked_again_after_a_second() -> None:
    site = Site(Failed(Trouble(Meaning.NOT_SENT, "Connection refused")), None)
    with pytest.raises(HypervisorUnreachable, match="Connection refused"):
        site.read(Calls())
    site.clock.pass_time(1.0)

    assert site.read(Calls()) == "answer"


def test_a_password_file_that_is_not_there_is_said_as_that() -> None:
    with pytest.raises(BadRequest, match="password file"):
        Site(BadRequest("the password file /x cannot be read")).read(Calls())


def test_a_bug_in_the_login_leaves_nobody_waiting_and_says_where_it_is() -> None:
    site = Site(ZeroDivisionError())

    with pytest.raises(Internal, match=r"logging in on vc1:443: ZeroDivisionError at .*test_session.py:\d+"):
        site.read(Calls())


def together(site: Site, count: int, work: Callable[[], object]) -> list[object]:
    """Run ``work`` on many threads that meet in one login; return what each of them got or raised."""
    site.door.opened.clear()
    results: list[object] = []

    def one() -> None:
        try:
            results.append(work())
        except VolumeError as error:
            results.append(error)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    site.door.opened.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    return results


def test_threads_that_find_the_session_ended_share_one_login() -> None:
    site = Site()
    site.read(Calls())
    met = threading.Barrier(20, timeout=PATIENCE_S)

    def ended(service: int) -> str:
        if service == 1:
            # All of them have seen that the first session has ended before one of them can log in.
            met.wait()
            raise Failed(Trouble(Meaning.LOGGED_OUT, ""))
        return f"in session {service}"

    assert together(site, 20, lambda: site.read(ended)) == ["in session 2"] * 20
    assert site.door.logins == 2


def test_threads_share_one_refusal() -> None:
    site = Site(refusal())

    results = together(site, 20, lambda: site.read(Calls()))

    assert site.door.logins == 1
    assert [type(each) for each in results] == [HypervisorUnreachable] * 20
    assert len({id(each) for each in results}) == 20


def test_a_caller_in_a_hurry_goes_and_the_login_goes_on() -> None:
    site = Site()
    site.door.opened.clear()

    with pytest.raises(HypervisorUnreachable, match="in this request's time"):
        site.session.read("reading vm-1", Calls(), Deadline.after(site.clock, 0.0))

    site.door.opened.set()
    assert site.read(Calls()) == "answer"
    assert site.door.logins == 1


def test_no_call_is_begun_after_its_deadline() -> None:
    site, calls = Site(), Calls()
    site.read(Calls())

    with pytest.raises(HypervisorUnreachable, match="no time was left to ask"):
        site.session.read("reading vm-1", calls, Deadline.after(site.clock, 0.0))

    assert calls.sessions == []


def test_a_read_that_took_all_the_time_tells_what_it_met() -> None:
    site = Site()
    deadline = site.soon()

    def slow(_: int) -> str:
        site.clock.pass_time(PATIENCE_S)
        raise Failed(Trouble(Meaning.LOST, "The read operation timed out"))

    with pytest.raises(HypervisorUnreachable, match="The read operation timed out"):
        site.session.read("reading vm-1", slow, deadline)


def test_close_logs_out_and_later_calls_are_refused() -> None:
    site = Site()
    site.read(Calls())
    site.session.close(site.soon())

    with pytest.raises(HypervisorUnreachable, match="the service stops"):
        site.read(Calls())
    assert site.door.logouts == 1


def test_close_before_the_first_call_asks_nothing() -> None:
    site = Site()
    site.session.close(site.soon())

    assert (site.door.logins, site.door.logouts) == (0, 0)


def test_a_login_that_ends_after_close_is_logged_out() -> None:
    site = Site()
    site.door.opened.clear()
    with pytest.raises(HypervisorUnreachable):
        site.session.read("reading vm-1", Calls(), Deadline.after(site.clock, 0.0))
    site.session.close(site.soon())
    site.door.opened.set()
    until = threading.Event()
    for _ in range(300):
        if site.door.logouts:
            break
        until.wait(0.1)

    assert site.door.logouts == 1


def test_what_cannot_be_understood_twice_is_said_to_be_unknown() -> None:
    with pytest.raises(TruthUnknown, match="cannot be read"):
        Site().read(Calls(Meaning.NOT_UNDERSTOOD, Meaning.NOT_UNDERSTOOD))
