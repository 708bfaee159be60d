"""How this machine gets its identity: by a token, once, and anew before it is over. The private key never leaves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from vmdkvol.clock import Clock, Deadline, Worker
from vmdkvol.errors import BadRequest, NotPermitted, UnknownCaller, VolumeError
from vmdkvol.messages import Authority, Call, Enroll, Enrolled, Renew, Service
from vmdkvol.tokens import Token, certificate_pem, one_certificate, pin_of
from vmdkvol_guest.ports import Credentials, Log

# Between two looks at how long the certificate lasts, and the time that a renewal may take.
LOOK_S = 3600.0
# While there is none.
INVITED_S = 10.0
RENEW_S = 60.0


def enroll(
    text: str,
    credentials: Credentials,
    introduce: Callable[[], Authority],
    ask: Callable[[Enroll, str], Enrolled],
) -> Enrolled:
    """Make this machine the one that the token is for, and return which that is.

    ``introduce`` asks anybody who answers at the service's address; the secret goes to ``ask`` only, which gets the authority
    that whoever answers must prove to be of. Raises BadRequest for what is no token, UnknownCaller if the authority is not
    the one that the token names, and what the service refuses. After an error: run again with the same token.
    """
    token = Token.parse(text)
    authority = one_certificate(introduce().ca_pem)
    if pin_of(authority) != token.pin:
        raise UnknownCaller(
            "what answers at the service's address is not the service that made this token",
            remedy="check service in the agent's settings, and that the token is of this site",
        )
    # Written anew from what was checked: what else came with it is not trusted.
    trusted = certificate_pem(authority)
    with credentials.alone():
        enrolled = ask(Enroll(token.text, credentials.request()), trusted)
        credentials.install(enrolled.certificate_pem, trusted)
    return enrolled


@dataclass(frozen=True, slots=True)
class Invited:
    """How a machine is enrolled without anybody on it: by a token that lies in its virtual machine.

    ``token`` returns it, or None; ``join`` enrols by it; ``forget`` takes it away once it is used.
    """

    token: Callable[[], str | None]
    join: Callable[[str], Enrolled]
    forget: Callable[[], None]


class Renewing:
    """Renews the certificate when a third of its time is left, and enrols a machine that was invited. Started once."""

    def __init__(
        self,
        credentials: Credentials,
        service: Service,
        clock: Clock,
        log: Log,
        new_id: Callable[[], UUID],
        trusted: Callable[[], str],
        invited: Invited | None = None,
    ) -> None:
        """``trusted`` returns the authority's certificate (PEM) that is trusted now."""
        self._credentials = credentials
        self._service = service
        self._clock = clock
        self._log = log
        self._new_id = new_id
        self._trusted = trusted
        self._invited = invited
        self._changed = clock.condition()
        self._stopped = False
        self._trouble = ""
        # A token that the service will not take, whoever asks again.
        self._refused: str | None = None
        self._worker: Worker | None = None

    def start(self) -> None:
        self._worker = self._clock.start("renewing", self._run)

    def stop(self, deadline: Deadline) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._worker is not None:
            self._worker.join(deadline.left_s)

    def look(self) -> bool:
        """Renew the certificate if it is due, or get the first one if there is a token; tell whether that was done.

        What does not work is logged once and tried again.
        """
        try:
            done = self._look()
            self._trouble = ""
            return done
        except (VolumeError, OSError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._log.warning("no new certificate", error=self._trouble)
            return False

    def _look(self) -> bool:
        validity = self._credentials.validity()
        if validity is None:
            return self._invited is not None and self._join(self._invited)
        if self._clock.wall() < validity.renew_at:
            return False
        with self._credentials.alone():
            call = Call(self._new_id(), Deadline.after(self._clock, RENEW_S))
            renewed = self._service.ask(Renew(self._credentials.request()), call)
            self._credentials.install(renewed.certificate_pem, self._trusted())
        self._log.info("certificate renewed", vm=renewed.vm_name)
        return True

    def _join(self, invited: Invited) -> bool:
        token = invited.token()
        if token is None or token == self._refused:
            return False
        try:
            enrolled = invited.join(token)
        except (BadRequest, NotPermitted):
            # The token's own fault. Whom TLS does not let through may have had a wrong clock at its boot.
            self._refused = token
            raise
        self._log.info("enrolled by guestinfo", vm=enrolled.vm_name)
        invited.forget()
        return True

    def _run(self) -> None:
        while not self._stopped:
            try:
                self.look()
                enrolled = self._credentials.exist()
            except Exception as error:  # noqa: BLE001 - top of a thread: a bug must not leave the certificate to end
                self._log.error("the look at the certificate failed by a bug", error=f"{type(error).__name__}: {error}")
                enrolled = True
            self._pause(LOOK_S if enrolled else INVITED_S)

    def _pause(self, seconds: float) -> None:
        deadline = Deadline.after(self._clock, seconds)
        with self._changed:
            while not self._stopped and not deadline.passed:
                self._changed.wait(deadline.left_s)
