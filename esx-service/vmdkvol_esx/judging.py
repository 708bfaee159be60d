"""How volumes stand to their storage policies: a record and what is seen of its disk in, what people read out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from vmdkvol.errors import InvalidOption, quoted
from vmdkvol.policy_messages import Compliance, ComplianceCounts, PolicyVolume
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.storage_policies import THICK, THIN, Followed, LocalPolicy, Unseen

# A directory cannot make a disk another one.
NO_OTHER = "name another policy, or copy the data to a new volume under this one"
UNSEEN = "it cannot be seen now"


def judge(record: VolumeRecord, seen: Followed | Unseen | None) -> tuple[Compliance, str]:
    """Return how the volume stands to the policy on its record, and why unless it complies."""
    if seen is None:
        return Compliance.UNKNOWN, UNSEEN
    if isinstance(seen, Unseen):
        return Compliance.UNKNOWN, seen.reason
    if seen.is_under(record.options.policy):
        return seen.compliance, seen.reason
    under = "its datastore's own policy" if seen.policy is None else f"policy {quoted(seen.policy)}"
    return Compliance.OUT_OF_DATE, f"its disk is under {under}"


def check_demand(policy: LocalPolicy, *, thin: bool, remedy: str) -> None:
    """Raise InvalidOption if a disk that is thin or not is none that the policy demands."""
    if not fits(policy.diskformat, thin=thin):
        raise InvalidOption(
            f"storage policy {quoted(policy.name)} demands a {policy.diskformat} disk, this one is {THIN if thin else THICK}",
            remedy=remedy,
            policy=policy.name,
        )


def fits(demanded: str | None, *, thin: bool) -> bool:
    """Tell whether a disk that is thin or not is what a policy demands."""
    return demanded is None or (demanded == THIN) == thin


def row(record: VolumeRecord, vmgroup: str, seen: Followed | Unseen | None) -> PolicyVolume:
    """Return the volume as a list of those under a policy tells it."""
    compliance, reason = judge(record, seen)
    return PolicyVolume(
        record.id,
        record.name,
        vmgroup,
        record.datastore,
        record.state,
        compliance,
        seen.policy if isinstance(seen, Followed) else None,
        seen.at if isinstance(seen, Followed) else None,
        reason,
    )


def counted(judged: Iterable[Compliance]) -> ComplianceCounts:
    """Return how many stand how."""
    found = Counter(judged)
    return ComplianceCounts(
        compliant=found[Compliance.COMPLIANT],
        not_compliant=found[Compliance.NOT_COMPLIANT],
        out_of_date=found[Compliance.OUT_OF_DATE],
        not_applicable=found[Compliance.NOT_APPLICABLE],
        unknown=found[Compliance.UNKNOWN],
    )
