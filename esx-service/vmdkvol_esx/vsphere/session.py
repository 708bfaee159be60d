"""One session for all callers: logged in when it is needed, renewed when the server ended it, never by a storm of tries.

Reads are made again once after a broken connection and once after a new login; changes never, unless they certainly were
not carried out (``repeating``). What is in doubt is OutcomeUnknown, and settled by reading.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import Generic, Protocol, TypeVar

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import Busy, HypervisorUnreachable, Internal, VolumeError, from_code
from vmdkvol_esx.ports import Log
from vmdkvol_esx.vsphere.connections import Flight, flying
from vmdkvol_esx.vsphere.faults import Failed, Kind, Meaning, Trouble, error_of
from vmdkvol_esx.vsphere.relogin import Advice, Tries, advise, failed, succeeded
from vmdkvol_esx.vsphere.repeating import Step, next_step

S = TypeVar("S")
T = TypeVar("T")

# One call of the API. A request may have more time; its work then goes on in the server's task.
CALL_S = 30.0
# A login is three calls; whoever waits for it goes at its own deadline, the login has this one.
LOGIN_S = 30.0
# For a session that was closed while its login was under way.
LOGOUT_S = 5.0


class Connects(Protocol[S]):
    """What logs in, and is called by the endpoint's name; see ``connecting.Connector``."""

    def log_in(self, deadline: Deadline) -> S: ...
    def log_out(self, service: S, deadline: Deadline) -> None: ...


class Session(Generic[S]):
    """Safe for any number of threads. Nothing is asked of the server before the first call."""

    def __init__(self, connector: Connects[S], clock: Clock, log: Log) -> None:
        self._connector = connector
        self._clock = clock
        self._log = log
        self._changed = clock.condition()
        self._tries = Tries()
        self._service: S | None = None
        self._failure: VolumeError | None = None
        self._closed = False

    @property
    def generation(self) -> int:
        """How often it was logged in: views and collectors of an earlier generation are gone."""
        return self._tries.generation

    def read(self, what: str, call: Callable[[S], T], deadline: Deadline, *, operation: str = "", limit_s: float = CALL_S) -> T:
        """Return what ``call`` reads; it may run up to three times, each time with the session that holds then.

        So it uses nothing but what it got through its argument: objects of an earlier login know only that one's stub.
        ``what`` is for the error, such as "reading the devices of vm-12"; ``operation`` is our request's id in the
        server's own logs; ``limit_s`` bounds one call. Raises what ``faults.ROWS`` says.
        """
        return self._ask(Kind.READ, what, call, deadline, operation, limit_s)

    def change(
        self, what: str, call: Callable[[S], T], deadline: Deadline, *, operation: str = "", limit_s: float = CALL_S
    ) -> T:
        """Return what ``call`` answers: one call of the API, that is carried out once or not at all.

        OutcomeUnknown if that is not known. Any other error: nothing was changed.
        """
        return self._ask(Kind.CHANGE, what, call, deadline, operation, limit_s)

    def close(self, deadline: Deadline) -> None:
        """End the session, on the server too if it answers. Calls under way fail; later ones are HypervisorUnreachable."""
        with self._changed:
            self._closed = True
            service, self._service = self._service, None
            self._changed.notify_all()
        if service is not None:
            self._log_out(service, deadline)

    def _ask(self, kind: Kind, what: str, call: Callable[[S], T], deadline: Deadline, operation: str, limit_s: float) -> T:
        where = f"{what} on {self._connector}"
        done: frozenset[Step] = frozenset()
        service, generation = self._logged_in(0, deadline)
        while True:
            try:
                if deadline.passed:
                    raise Failed(Trouble(Meaning.LATE, ""))
                with flying(Flight(deadline.at_most(limit_s), kind, operation)):
                    return call(service)
            except Failed as failure:
                trouble = failure.trouble
                step = next_step(kind, trouble.meaning, done)
                # With no time left the first cause is the one to tell.
                if step is Step.GIVE_UP or deadline.passed:
                    raise error_of(kind, trouble, where) from failure
                self._log.info("asked again", endpoint=str(self._connector), why=str(failure), step=step.value)
            done |= {step}
            if step is Step.LOG_IN:
                service, generation = self._logged_in(generation, deadline)

    def _logged_in(self, seen: int, deadline: Deadline) -> tuple[S, int]:
        """Return a session that is younger than generation ``seen``, and its generation."""
        joined = False
        with self._changed:
            while True:
                if self._closed:
                    raise HypervisorUnreachable(f"{self._connector}: the service stops")
                advice = advise(self._tries, seen, self._clock.monotonic())
                if advice is Advice.USE and self._service is not None:
                    return self._service, self._tries.generation
                if advice is Advice.HOLD:
                    raise self._held(joined=joined)
                if advice is Advice.LOG_IN:
                    self._begin()
                joined = True
                if deadline.passed:
                    raise HypervisorUnreachable(f"{self._connector}: the login has not ended in this request's time")
                self._changed.wait(deadline.left_s)

    def _held(self, *, joined: bool) -> VolumeError:
        """Return the last try's error, a new one for each caller; the lock is held."""
        failure = self._failure or Internal(f"{self._connector}: a login failed without an error")
        rest = self._tries.held_until - self._clock.monotonic()
        text = failure.text if joined else f"not tried again for {ceil(rest)} s: {failure.text}"
        return from_code(failure.code, text, failure.fields, failure.remedy)

    def _begin(self) -> None:
        """Start a login beside, so that no caller's short deadline ends it for all; the lock is held."""
        self._tries = replace(self._tries, under_way=True)
        try:
            self._clock.start("vsphere-login", self._log_in)
        except RuntimeError as error:
            self._tries = replace(self._tries, under_way=False)
            raise Busy(f"{self._connector}: no thread can be started for the login: {error}") from error

    def _log_in(self) -> None:
        deadline = Deadline.after(self._clock, LOGIN_S)
        what = f"logging in on {self._connector}"
        try:
            service = self._connector.log_in(deadline)
        except Failed as failure:
            # Nobody is in doubt about a login's outcome: it is tried again.
            self._ended(error_of(Kind.READ, failure.trouble, what), asked=failure.asked)
        except VolumeError as error:
            self._ended(error, asked=False)
        except Exception as error:  # noqa: BLE001 - the top of a thread: every caller would wait for a login nobody makes
            # Without its text: it may hold what was sent.
            at = traceback.extract_tb(error.__traceback__)[-1]
            self._ended(Internal(f"{what}: {type(error).__name__} at {at.filename[-40:]}:{at.lineno}"), asked=True)
        else:
            self._use(service)

    def _ended(self, failure: VolumeError, *, asked: bool) -> None:
        self._log.warning("login failed", endpoint=str(self._connector), error=str(failure))
        with self._changed:
            self._failure = failure
            self._tries = failed(self._tries, self._clock.monotonic(), asked=asked)
            self._changed.notify_all()

    def _use(self, service: S) -> None:
        with self._changed:
            late = self._closed
            self._service = None if late else service
            self._failure = None
            self._tries = succeeded(self._tries)
            generation = self._tries.generation
            self._changed.notify_all()
        if late:
            self._log_out(service, Deadline.after(self._clock, LOGOUT_S))
            return
        self._log.info("logged in", endpoint=str(self._connector), generation=generation)

    def _log_out(self, service: S, deadline: Deadline) -> None:
        try:
            self._connector.log_out(service, deadline)
        except Failed as failure:
            self._log.info("not logged out", endpoint=str(self._connector), why=str(failure))
