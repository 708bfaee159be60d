"""Who may come by certificate, put together: the authority, the records, what strangers are answered.

Composition; loaded only by a service that listens for other machines: making certificates costs its start 0.1 s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from vmdkvol import logs
from vmdkvol.clock import Clock
from vmdkvol.errors import NotEnrolled
from vmdkvol.tls import ServiceSide
from vmdkvol.volume import VmId
from vmdkvol_esx.alarms import Alarms
from vmdkvol_esx.authority import DAY_S, CertificateAuthority, open_authority
from vmdkvol_esx.callers import ENROL_AGAIN, Present
from vmdkvol_esx.enrolling import Enrolling
from vmdkvol_esx.expiring import Expiring
from vmdkvol_esx.identities import fingerprint
from vmdkvol_esx.instance import alone
from vmdkvol_esx.ports import Hypervisor, Log
from vmdkvol_esx.settings import ServiceSettings
from vmdkvol_esx.store import SqlStore, open_store

# How long before the end of the authority each start tells of it.
_WARN_S = 365 * DAY_S

Expel = Callable[[VmId, Callable[[Present], bool], NotEnrolled], None]
# Closes what is connected by another certificate than those with these fingerprints.
Close = Callable[[VmId, Collection[str]], None]


@dataclass(slots=True)
class Registry:
    """The parts that a service for other machines has beside the others."""

    secure: ServiceSide
    authority: CertificateAuthority
    enrolling: Enrolling
    expiring: Expiring
    ended: Callable[[VmId], None]


class OwnCertificate:
    """The service's: made anew when it is due, then shown. Used by one thread."""

    def __init__(self, renew: Callable[[], bool], show: Callable[[], None]) -> None:
        """``renew`` tells whether there is a new one, ``show`` has it shown."""
        self._renew, self._show = renew, show
        self._waits = False

    def renew(self) -> bool:
        """Tell whether a new one is shown from now on. Raises what the two raise; what was made is shown at a later try."""
        self._waits = self._renew() or self._waits
        if self._waits:
            self._show()
            self._waits = False
            return True
        return False


def open_registry(
    settings: ServiceSettings,
    store: SqlStore,
    hypervisor: Hypervisor,
    clock: Clock,
    alarms: Alarms,
    *,
    connected: Callable[[VmId], bool],
    note: Callable[[VmId], None],
    expel: Expel,
) -> Registry:
    """Return the parts, not started.

    ``note`` hears whose certificates have changed, before ``expel`` closes connections of that machine and tells their peers
    why. Raises what ``open_authority`` raises.
    """
    log = logs.get("enrolment")
    authority, secure = open_secured(settings, clock, enrolled=any(each.revoked_at is None for each in store.identities()))

    _warn(authority, clock, log)
    close = _closing(expel)
    ended = _ending(store, clock, note, close)
    enrolling = Enrolling(store, authority, hypervisor, clock, log, alarms, ended)
    expiring = Expiring(store, clock, log, connected, close, OwnCertificate(authority.renew_service, secure.renew).renew)
    return Registry(secure, authority, enrolling, expiring, ended)


def _closing(expel: Expel) -> Close:
    def close(vm: VmId, counts: Collection[str]) -> None:
        error = NotEnrolled("the certificate of this machine was revoked or replaced, or is over", remedy=ENROL_AGAIN)
        expel(vm, lambda present: _shown(present) not in {None, *counts}, error)

    return close


def _ending(store: SqlStore, clock: Clock, note: Callable[[VmId], None], close: Close) -> Callable[[VmId], None]:
    """Return what closes those connections of a machine whose certificates do not count any more, also one under way."""

    def ended(vm: VmId) -> None:
        now = clock.wall()
        note(vm)
        close(vm, {each.fingerprint for each in store.identities(vm) if each.revoked_at is None and each.not_after > now})

    return ended


def open_secured(settings: ServiceSettings, clock: Clock, *, enrolled: bool) -> tuple[CertificateAuthority, ServiceSide]:
    """Return the authority and what secures connections with its certificates. Raises what ``open_authority`` raises."""
    authority = open_authority(Path(settings.authority), clock, enrolled=enrolled)
    return authority, ServiceSide(authority.service_file, authority.ca_file)


def new_authority(settings: ServiceSettings, clock: Clock) -> str:
    """Put a new authority in the place of the old one, which is kept beside it, and revoke every certificate; return a report.

    Raises Conflict while a service runs. Killed in the middle: run again.
    """
    directory = Path(settings.authority)
    with alone(settings.state_dir):
        revoked = _revoke_all(Path(settings.database), clock)
        kept = directory.with_name(f"{directory.name}.replaced-{int(clock.wall())}")
        if directory.exists():
            directory.rename(kept)
        open_authority(directory, clock, enrolled=False)
    text = f"a new authority is in {directory}; {revoked} machines must enrol again, each with a new token"
    return text + (f"\nthe old one is kept as {kept}" if kept.exists() else "")


def _warn(authority: CertificateAuthority, clock: Clock, log: Log) -> None:
    left_s = authority.not_after - clock.wall()
    if left_s < _WARN_S:
        log.warning(
            "the site's authority ends",
            days=round(left_s / DAY_S),
            remedy="run `vmdkvol-esxd new-ca`, and enrol every machine again",
        )


def _revoke_all(database: Path, clock: Clock) -> int:
    """Revoke every machine that is on record, and return how many had something to revoke."""
    if not database.exists():
        return 0
    store = open_store(database, clock)
    try:
        known = {each.vm for each in store.identities()} | {each.vm for each in store.tickets()}
        return sum(store.revoke(vm, clock.wall()) > 0 for vm in known)
    finally:
        store.close()


def _shown(present: Present) -> str | None:
    return None if present.proof.certificate is None else fingerprint(present.proof.certificate)
