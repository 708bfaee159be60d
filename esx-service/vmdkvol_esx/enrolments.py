"""Which machines may speak to the service, as an administrator sees it: tokens, who is enrolled, an end to an identity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vmdkvol import frames
from vmdkvol.admin_messages import EnrollVm, Invitation, ListVms, RevokeVm, Standing, VmInfo, VmPage
from vmdkvol.clock import Clock
from vmdkvol.errors import BadRequest, Conflict, NotFound, VolumeError
from vmdkvol.messages import Request
from vmdkvol.orders import Outcome, Plan, Step
from vmdkvol.tokens import SECRET_BYTES, Token
from vmdkvol.volume import VmId
from vmdkvol.wire import answer_size
from vmdkvol_esx.desk import Handle
from vmdkvol_esx.enrolling import Ours
from vmdkvol_esx.identities import Identities, Identity, Signing, Ticket
from vmdkvol_esx.named import one
from vmdkvol_esx.ports import Hypervisor, Log, Vm

TOKEN_S = 3600.0
MOST_LISTED = 200
# A page is cut by bytes too, should names be long.
_PAGE_BYTES = frames.MAX_FRAME - 1024
_LOOK_S = 60.0


@dataclass(slots=True)
class _Known:
    """All that is known of one machine."""

    vm: Vm | None = None
    identities: list[Identity] = field(default_factory=list)
    tickets: list[Ticket] = field(default_factory=list)


class Enrolments:
    """For any thread."""

    def __init__(
        self,
        records: Identities,
        authority: Signing | None,
        hypervisor: Hypervisor,
        ours: Ours,
        registered: frozenset[VmId],
        clock: Clock,
        log: Log,
        chance: Callable[[int], bytes],
        connected: Callable[[VmId], bool],
        ended: Callable[[VmId], None],
        give: Callable[[VmId, str], None] | None = None,
    ) -> None:
        """``authority`` None: the service listens for no other machine. ``registered`` are the hosts of the settings.
        ``chance`` returns so many bytes that nobody can guess.

        ``connected`` tells whether a machine's agent is there, ``ended`` hears whose certificates count no more. ``give``
        writes a token into a VM's guestinfo; None if that is not allowed.
        """
        self._records = records
        self._authority = authority
        self._hypervisor = hypervisor
        self._ours = ours
        self._registered = registered
        self._clock = clock
        self._log = log
        self._chance = chance
        self._connected = connected
        self._ended = ended
        self._give = give
        self._last: tuple[float, dict[VmId, _Known]] | None = None

    def rows(self) -> Mapping[type[Request[Any]], Handle]:
        """Return what the desk answers by this."""
        return {
            EnrollVm: lambda request, _: self.enroll(request),
            ListVms: lambda request, _: self.page(request),
            RevokeVm: lambda request, _: self.revoke(request),
        }

    def enroll(self, request: EnrollVm) -> Invitation:
        """See ``EnrollVm``. Of the token only its hash is kept."""
        authority = self._signing()
        if request.give and self._give is None:
            raise BadRequest(
                "tokens are not written into virtual machines here",
                remedy="set guestinfo = true in [vsphere], and see docs/how-to/enrol.md for the right that it needs",
            )
        vm = self._invited(request)
        plan = self._invitation_of(vm, give=request.give)
        expires_at = self._clock.wall() + TOKEN_S
        if request.dry_run:
            return Invitation(plan, False, str(vm.id), token="", vm=vm.id, vm_name=vm.name, expires_at=expires_at)
        token = Token(self._chance(SECRET_BYTES), authority.pin)
        # Ours from now on: its context id counts at the enrolment already.
        self._ours.add(vm.id)
        self._records.invite(Ticket(token.hash, vm.id, vm.name, expires_at))
        if request.give and self._give is not None:
            self._give(vm.id, token.text)
        self._log.info("token made", vm=vm.name, id=str(vm.id), given=request.give)
        return Invitation(
            plan,
            True,
            str(vm.id),
            token=token.text,
            vm=vm.id,
            vm_name=vm.name,
            expires_at=expires_at,
            given=request.give,
        )

    def meant(self, order: EnrollVm | RevokeVm) -> VmId:
        """Return the machine that the order names; raises as the order does for a name that is not one machine's."""
        return (self._invited(order) if isinstance(order, EnrollVm) else self._on_record(order)).id

    def page(self, request: ListVms) -> VmPage:
        """See ``ListVms``. Machines that the hypervisor cannot tell of now are told as far as they are on record.

        All pages of a listing are of one look, if they are asked for within a minute: a look at a large site takes a second.
        """
        if not 1 <= request.limit <= MOST_LISTED:
            raise BadRequest(f"a page has 1 to {MOST_LISTED} machines", remedy="ask for fewer, and page by page")
        known = self._looked(anew=request.after is None)
        after = "" if request.after is None else str(request.after)
        ids = sorted((vm for vm in known if str(vm) > after), key=str)
        infos = [self._info(vm, known[vm]) for vm in ids[: request.limit]]
        left = _PAGE_BYTES
        for number, info in enumerate(infos):
            left -= answer_size(info)
            if left < 0 and number:
                infos = infos[:number]
                break
        return VmPage(tuple(infos), infos[-1].vm if len(infos) < len(ids) else None)

    def revoke(self, request: RevokeVm) -> Outcome:
        """See ``RevokeVm``: also while the hypervisor does not answer."""
        vm = self._on_record(request)
        if not self._records.tickets(vm.id) and not self._records.identities(vm.id):
            raise NotFound(f"virtual machine {vm.name} ({vm.id}) is not enrolled", remedy="see `vmdkvol vm ls`")
        plan = self._end_of(vm)
        if not request.dry_run:
            ended = self._records.revoke(vm.id, self._clock.wall())
            self._log.warning("machine revoked", vm=vm.name, id=str(vm.id), certificates_and_tokens=ended)
            self._ended(vm.id)
        return Outcome(plan, not request.dry_run, str(vm.id))

    # --- inside --------------------------------------------------------------------------------------------------

    def _invited(self, request: EnrollVm) -> Vm:
        return one(request.vm, self._hypervisor.machines())

    def _on_record(self, request: RevokeVm) -> Vm:
        # Newest names last, so that they win.
        on_record: list[Ticket | Identity] = [*self._records.tickets(), *self._records.identities()]
        vms = {each.vm: Vm(each.vm, each.name, running=True) for each in on_record}
        named = list(vms.values())
        if request.vm.lower() not in map(str, vms):
            # A machine has the name that it enrolled with and the one that it has now, which may have been another's.
            named += [vm for vm in self._seen() if vm.id not in vms or vms[vm.id].name != vm.name]
        return one(request.vm, named)

    def _signing(self) -> Signing:
        """Return the authority, which can sign."""
        if self._authority is None:
            raise Conflict("no machine can enrol: the service listens for none", remedy="set `listen`, and restart the service")
        self._authority.check()
        return self._authority

    def _invitation_of(self, vm: Vm, *, give: bool) -> Plan:
        before = self._standing_of(vm.id)
        steps = [Step("make-token", f"{vm.name} ({vm.id})", before.value, Standing.INVITED.value)]
        if give:
            steps.append(Step("write-token", f"the guestinfo of {vm.name}"))
        return Plan(tuple(steps), "the token that it has" if self._tokens_of(vm.id) else None)

    def _end_of(self, vm: Vm) -> Plan:
        """Return what revoking does; no step if nothing of the machine counts."""
        before = self._standing_of(vm.id)
        if before is Standing.ENROLLED or before is Standing.EXPIRED or self._tokens_of(vm.id):
            step = Step("revoke", f"{vm.name} ({vm.id})", before.value, Standing.REVOKED.value)
            return Plan((step,), "its certificates and tokens; until it is enrolled again it mounts and unmounts nothing")
        return Plan()

    def _standing_of(self, vm: VmId) -> Standing:
        known = _Known(None, list(self._records.identities(vm)), list(self._records.tickets(vm)))
        return self._standing(vm, known, [each for each in known.identities if each.revoked_at is None], self._tokens_of(vm))

    def _tokens_of(self, vm: VmId) -> list[Ticket]:
        """Return the VM's tokens that can be used."""
        return [each for each in self._records.tickets(vm) if each.used_at is None and each.expires_at > self._clock.wall()]

    def _looked(self, *, anew: bool) -> dict[VmId, _Known]:
        now = self._clock.monotonic()
        last = self._last
        if anew or last is None or now - last[0] > _LOOK_S:
            last = self._last = now, self._known()
        return last[1]

    def _known(self) -> dict[VmId, _Known]:
        known: dict[VmId, _Known] = defaultdict(_Known, {vm: _Known() for vm in self._registered})
        for ticket in self._records.tickets():
            known[ticket.vm].tickets.append(ticket)
        for identity in self._records.identities():
            known[identity.vm].identities.append(identity)
        for vm in self._seen():
            known[vm.id].vm = vm
        return known

    def _seen(self) -> Sequence[Vm]:
        """Return the machines that the hypervisor shows now; none while it does not answer."""
        try:
            return self._hypervisor.machines()
        except VolumeError as error:
            self._log.warning("machines not listed", error=str(error))
            return ()

    def _info(self, vm: VmId, known: _Known) -> VmInfo:
        now = self._clock.wall()
        standing = [each for each in known.identities if each.revoked_at is None]
        invited = [each for each in known.tickets if each.used_at is None and each.expires_at > now]
        on_record: list[Ticket | Identity] = [*known.tickets, *known.identities]
        names = [each.name for each in on_record]
        return VmInfo(
            vm,
            known.vm.name if known.vm is not None else names[-1] if names else str(vm),
            self._standing(vm, known, standing, invited),
            self._connected(vm),
            None if known.vm is None else known.vm.running,
            max((each.not_after for each in standing), default=None),
            max((each.expires_at for each in invited), default=None),
        )

    def _standing(self, vm: VmId, known: _Known, standing: Sequence[Identity], invited: Sequence[Ticket]) -> Standing:
        if standing:
            over = max(each.not_after for each in standing) <= self._clock.wall()
            return Standing.EXPIRED if over else Standing.ENROLLED
        if vm in self._registered:
            return Standing.REGISTERED
        if invited:
            return Standing.INVITED
        return Standing.REVOKED if known.identities else Standing.NONE
