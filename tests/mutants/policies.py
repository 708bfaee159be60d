"""Defects of storage policies: what is told of a disk's, what waits for an attach, and what an attach does without."""

from __future__ import annotations

from tests.mutants.mutant import ESX, By, Mutant

_ASSIGNING = "tests/unit/esx/test_assigning.py"
_JUDGING = "tests/unit/esx/test_judging.py"
_PROFILES = "tests/unit/esx/vsphere/test_profiles.py"


def _defect(id: str, defect: str, file: str, old: str, new: str, breaks: tuple[str, ...], *tests: str) -> Mutant:
    """Return what the state machine does not meet: its volumes are under no policies."""
    return Mutant(id, defect, f"{ESX}/{file}", old, new, breaks, tests, By.TESTS)


MUTANTS = (
    _defect(
        "an-attach-that-fails-for-its-policy",
        "no container with a policy starts while vCenter's policy service is away",
        "vsphere/profiles.py",
        "            # An old id is still the likely one",
        "            raise\n            # An old id is still the likely one",
        ("I5",),
        _PROFILES,
    ),
    _defect(
        "a-held-disk-is-tried-once-more-without-its-policy",
        "a disk that a running machine has is attached a second time, which can freeze that machine",
        "vsphere/profiles.py",
        "Meaning.LICENCE, Meaning.OTHER)",
        "Meaning.LICENCE, Meaning.OTHER, Meaning.HELD)",
        ("I2",),
        _PROFILES,
    ),
    _defect(
        "a-refused-policy-is-in-doubt",
        "an order that vCenter refuses in words of its own is repeated for ever, and keeps the volume from its machines",
        "vsphere/profiles.py",
        "(Meaning.BAD_REQUEST, Meaning.NO_SUCH_CALL, Meaning.OTHER))",
        "(Meaning.BAD_REQUEST, Meaning.NO_SUCH_CALL))",
        ("I5",),
        _PROFILES,
    ),
    _defect(
        "a-policy-that-waits-is-done-by-any-attach",
        "a volume says that it is under a policy that no attach has laid on",
        "pending_policies.py",
        "            if record.policy_pending and isinstance(found, Followed) and found.is_under(record.options.policy):\n",
        "            if record.policy_pending:\n",
        ("I6",),
        _ASSIGNING,
    ),
    _defect(
        "a-policy-of-a-disk-that-no-machine-has-is-told-as-laid-on",
        "a volume that no machine has says at once that it is under its new policy",
        "assigning.py",
        "generation=record.generation + 1, policy_pending=True)",
        "generation=record.generation + 1, policy_pending=False)",
        ("I6",),
        _ASSIGNING,
    ),
    _defect(
        "an-attach-names-only-a-policy-that-waits",
        "vCenter forgets a volume's policy with the first detach, and nobody lays it on again",
        "pending_policies.py",
        '    return record.options.policy or ("" if record.policy_pending else None)\n',
        '    return (record.options.policy or "") if record.policy_pending else None\n',
        ("I6",),
        _ASSIGNING,
    ),
    _defect(
        "an-attach-that-went-without-its-policy-does-not-say-so",
        "a volume whose attach went without its policy is told as one that is under it",
        "pending_policies.py",
        "        return done if self._hypervisor.carried(change.disk.uuid) else replace(done, policy_pending=True)\n",
        "        return done\n",
        ("I6",),
        _ASSIGNING,
    ),
    _defect(
        "a-slow-list-takes-the-policy-from-attaches",
        "an administrator's list that vCenter answers slowly takes other volumes' policies from them",
        "vsphere/profiles.py",
        "            known = self._policies.remembered(policy) if isinstance(error, Unavailable) else None\n",
        "            known = None\n",
        ("I6",),
        _PROFILES,
    ),
    _defect(
        "what-was-refused-together-for-a-policy-goes-alone",
        "sixteen disks whose policy is refused are 33 reconfigures of their machine, and their containers wait for all of them",
        "vsphere/profiles.py",
        "            if meaning not in _OF_POLICIES and (shared or meaning not in _OF_A_DISK):\n",
        "            if shared or meaning not in _OF_POLICIES | _OF_A_DISK:\n",
        ("I5",),
        _PROFILES,
    ),
    _defect(
        "a-change-of-policy-that-cannot-be-settled-fails-the-attach",
        "after a death in a change of policy the next container fails because the policy service is away",
        "journal.py",
        "            if self._store.open_intent(record.id) is not None:\n                raise\n            # Who waits",
        "            raise\n            # Who waits",
        ("I5",),
        _ASSIGNING,
    ),
    _defect(
        "a-disk-whose-policy-nobody-tells-complies",
        "a volume is told as compliant of which nobody knows it",
        "judging.py",
        "        return Compliance.UNKNOWN, seen.reason\n",
        "        return Compliance.COMPLIANT, seen.reason\n",
        ("I6",),
        _JUDGING,
    ),
    _defect(
        "a-policy-that-nobody-tells-keeps-a-volume-from-its-machine",
        "after a lost answer a volume can neither be attached nor detached while the policy service is away",
        "sighting.py",
        "        return Seen.THERE if isinstance(found, Followed) and",
        "        if not isinstance(found, Followed):\n            return Seen.UNKNOWN\n        return Seen.THERE if",
        ("I5",),
        _ASSIGNING,
    ),
)
